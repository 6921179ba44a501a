package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
)

// The grain of session timeouts, in milliseconds: a client may ask for 2 to 20 of them. That of a
// replicator's own ZooKeeper is the one of the stacks: it asks for sessions of 30 s.
const (
	clusterTick    = "1000"
	replicatorTick = "2000"
)

// zooKeeper is one ZooKeeper: that of a cluster, or that of a replicator.
type zooKeeper struct {
	seat
	side, name string
	config     string // path of its configuration
}

// placeZooKeeper makes room for a ZooKeeper on a side, and writes its configuration. It is not started.
func placeZooKeeper(n network, side, name, tick string, dirs directories) (*zooKeeper, error) {
	seat, err := n.place(side, name, zooKeeperPort)
	if err != nil {
		return nil, err
	}
	z := &zooKeeper{seat: seat, side: side, name: name, config: filepath.Join(dirs.configs, side+"-"+name+".properties")}
	host, port := split(z.listen())
	return z, writeProperties(z.config, map[string]string{
		"dataDir":                   filepath.Join(dirs.data, side+"-"+name),
		"clientPort":                strconv.Itoa(port),
		"clientPortAddress":         host,
		"tickTime":                  tick,
		"maxClientCnxns":            "0",
		"admin.enableServer":        "false", // it would take port 8080
		"4lw.commands.whitelist":    "ruok,dump",
		"autopurge.purgeInterval":   "1",
		"autopurge.snapRetainCount": "3",
	})
}

// replicatorZooKeeper starts a ZooKeeper of the replicator's own, at the destination.
func (l *Lab) replicatorZooKeeper(ctx context.Context, replicator string) (*zooKeeper, error) {
	z, err := placeZooKeeper(l.net, Destination, replicator+"-zookeeper", replicatorTick, l.dirs())
	if err != nil {
		return nil, err
	}
	return z, z.run(ctx, l.sup, l.jvm, l.cfg.StartTimeout)
}

// run starts it, and returns when it answers.
func (z *zooKeeper) run(ctx context.Context, sup *supervisor, j jvm, limit time.Duration) error {
	start := j.command(z.side+" "+z.name, zooKeeperHeap, "org.apache.zookeeper.server.quorum.QuorumPeerMain", z.config)
	start.in = z.start()
	if err := j.watch.java(&start, replicators.ZooKeeperProcess, z.side, z.name+"-0", z.seat); err != nil {
		return err
	}
	if _, err := sup.start(start); err != nil {
		return err
	}
	return await(ctx, limit, z.side+" "+z.name, func(ctx context.Context) error {
		_, err := z.ask(ctx, "ruok")
		return err
	})
}

// ask sends one of ZooKeeper's four-letter words.
func (z *zooKeeper) ask(ctx context.Context, word string) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", z.listen())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(conn, word); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && len(bytes.TrimSpace(answer)) == 0 {
		err = fmt.Errorf("ZooKeeper gave no answer to %q", word)
	}
	return string(answer), err
}
