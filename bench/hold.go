package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// brokerCommand starts the broker alone, for profiles.
func brokerCommand(stdout, stderr io.Writer) *cobra.Command {
	var s settings
	var topics []string
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Start bench's broker with some topics and keep it until a signal comes, to profile against",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			temp, remove, err := makeTempDir(s.tempDir)
			if err != nil {
				return err
			}
			b := &bench{settings: s, temp: temp, say: func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }}
			defer func() {
				b.broker.stop()
				if removeErr := remove(); err == nil {
					err = removeErr
				}
			}()
			k, err := b.needBroker(cmd.Context())
			if err != nil {
				return err
			}
			for _, t := range topics {
				if err := k.createTopic(cmd.Context(), t, partitions); err != nil {
					return err
				}
			}
			fmt.Fprintln(stdout, k.address)
			<-cmd.Context().Done()
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&topics, "topics", []string{"load"}, "topics to make, of 4 partitions")
	cmd.Flags().StringVar(&s.tempDir, "temp-dir", "", "where the broker keeps its data (empty: the system's)")
	cmd.Flags().StringVar(&s.java, "java", "", "Java to use (empty: JAVA_HOME or PATH)")
	cmd.Flags().StringVar(&s.cacheDir, "cache-dir", "", "where Kafka's jars are kept (empty: as in the lab)")
	return cmd
}
