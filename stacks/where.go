package main

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/livemap"
)

// help writes the output where: how to reach what there is, in the words that one pastes into a
// shell. `make where` prints it for both stacks.
func (r *region) help(liveMap *livemap.Map) {
	var lines pulumi.StringArray
	say := func(what string, command pulumi.StringInput) {
		lines = append(lines, command.ToStringOutput().ApplyT(func(c string) string {
			if c == "" {
				return ""
			}
			if r.cluster.Context != "" { // two clusters, and kubectl has one current context
				c = strings.ReplaceAll(c, "kubectl ", "kubectl --context "+r.cluster.Context+" ")
			}
			return fmt.Sprintf("%-22s %s", what, c)
		}).(pulumi.StringOutput))
	}
	text := func(s string) pulumi.StringOutput { return pulumi.String(s).ToStringOutput() }

	say("kubectl's context", text(r.cluster.Command))
	say("events as they come", text(fmt.Sprintf("kubectl --namespace %s get events --watch", r.Namespace)))
	say("brokers", r.kafka.Bootstrap)
	say("brokers to be rolled", r.kafka.StaleBrokersCommand)
	say("a shell beside Kafka", text(fmt.Sprintf("kubectl --namespace %s exec -it kafka-0 -- /bin/bash   # tools are in /opt/kafka/bin", r.Namespace)))
	if r.prom != nil {
		say("Prometheus", r.prom.PrometheusCommand)
		say("Grafana", r.prom.GrafanaCommand)
		say("Grafana's password", text(r.passwordCommand()))
		say("Grafana, public", r.prom.GrafanaAddress)
	}
	if liveMap != nil {
		say("live map", pulumi.Sprintf("%s   # %s", liveMap.Command, liveMap.Address))
		say("its token", liveMap.TokenCommand)
		say("live map, public", liveMap.PublicAddress)
	}
	for _, more := range r.more {
		say(more.what, more.command)
	}
	if r.Expires != "" && r.Role == source {
		say("the load ends", text(r.Expires+"   # what is made costs until make destroy"))
	}
	if r.aws() {
		say("estimated cost", text(fmt.Sprintf("%.2f USD an hour", r.bill.Total())))
	}
	r.ctx.Export("where", lines.ToStringArrayOutput().ApplyT(func(all []string) string {
		var b strings.Builder
		for _, line := range all {
			if line != "" {
				b.WriteString(line + "\n")
			}
		}
		return b.String()
	}).(pulumi.StringOutput))
}

func (r *region) passwordCommand() string {
	if r.Role != destination {
		return ""
	}
	return "pulumi config get grafanaPassword --stack " + r.ctx.Stack()
}

// pointer is a further line of the output where.
type pointer struct {
	what    string
	command pulumi.StringInput
}
