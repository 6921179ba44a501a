package dashboards

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// nodes shows, of each resource, how much is in use and what waits for it.
func nodes() Board {
	each := func(expr, legend string) Query { return at("", expr, legend) }
	const (
		node  = "{{instance}}"
		pod   = "{{pod}}"
		disks = `device=~"nvme.*|xvd.*|sd.*"`
		nics  = `device=~"eth.*|ens.*"`
		root  = `mountpoint="/",fstype!~"tmpfs|overlay"`
	)
	b := Board{
		Name: "nodes", Title: "Nodes and pods",
		Description: "Utilisation and saturation: how much of each resource is in use, and what waits for it. The source's region on the left.",
		Variables:   clusterVariables(),
		Rows: []Row{
			{"Nodes", regions(
				graph("CPU utilisation", units.PercentUnit, "Share of all cores in use.",
					each(`1 - avg by (instance) (`+rate(`node_cpu_seconds_total{mode="idle"}`)+`)`, node)).within(0, 1).from(0.8, "orange"),
				graph("CPU saturation", units.Short, "Runnable processes for each core, mean of a minute. Above 1 some wait.",
					each(`node_load1 / on (instance) count by (instance) (node_cpu_seconds_total{mode="idle"})`, node)).fromZero().from(1, "red"),
				graph("Memory utilisation", units.PercentUnit, "Share that is not available.",
					each(`1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes`, node)).within(0, 1).from(0.9, "red"),
				graph("Memory saturation", units.OpsPerSecond, "Page faults that had to wait for the disk. Nodes have no swap.",
					each(rate("node_vmstat_pgmajfault"), node)).fromZero(),
				graph("Disk utilisation", units.PercentUnit, "Share of time in which each disk was busy.",
					each(rate("node_disk_io_time_seconds_total{"+disks+"}"), node+" {{device}}")).within(0, 1),
				graph("Disk saturation", units.Short, "Requests that wait, on average.",
					each(rate("node_disk_io_time_weighted_seconds_total{"+disks+"}"), node+" {{device}}")).fromZero(),
				graph("Disk throughput", units.BytesPerSecondSI, "Read and written. A gp3 volume has 125 MB/s unless it was given more.",
					each(by("instance", "sum", rate("node_disk_written_bytes_total{"+disks+"}")), node+" written"),
					each(by("instance", "sum", rate("node_disk_read_bytes_total{"+disks+"}")), node+" read")).fromZero(),
				graph("Disk space", units.PercentUnit, "Share of the root volume in use, where Kafka's logs lie.",
					each("1 - node_filesystem_avail_bytes{"+root+"} / node_filesystem_size_bytes{"+root+"}", node)).within(0, 1).from(0.8, "orange").from(0.9, "red"),
				graph("Network utilisation", units.BytesPerSecondSI, "Sent and received. The instance type has a limit, which AWS lets a node pass for a while.",
					each(by("instance", "sum", rate("node_network_transmit_bytes_total{"+nics+"}")), node+" sent"),
					each(by("instance", "sum", rate("node_network_receive_bytes_total{"+nics+"}")), node+" received")).fromZero(),
				graph("Network saturation", units.PacketsPerSecond, "Packets that were dropped, and TCP segments that had to be sent again.",
					each(by("instance", "sum", rate("node_network_transmit_drop_total{"+nics+"}")), node+" dropped, out"),
					each(by("instance", "sum", rate("node_network_receive_drop_total{"+nics+"}")), node+" dropped, in"),
					each(rate("node_netstat_Tcp_RetransSegs"), node+" sent again")).fromZero(),
			)},
			{"Pods of the test", bothOf(
				graph("Pods' CPU", units.Short, "Cores in use.",
					each(by("pod", "sum", rate(`container_cpu_usage_seconds_total{CLUSTER,container!=""}`)), pod)).fromZero(),
				graph("Pods' CPU saturation", units.PercentUnit, "Share of periods in which a container wanted more CPU than its limit.",
					each(by("pod", "sum", rate(`container_cpu_cfs_throttled_periods_total{CLUSTER,container!=""}`))+" / "+by("pod", "sum", rate(`container_cpu_cfs_periods_total{CLUSTER,container!=""}`)), pod)).within(0, 1).from(0.25, "orange"),
				graph("Pods' memory against the limit", units.PercentUnit, "Working set, of the limit. At 1 the container is killed.",
					each(by("pod", "sum", `container_memory_working_set_bytes{CLUSTER,container!=""}`)+` / `+by("pod", "sum", `kube_pod_container_resource_limits{CLUSTER,resource="memory"}`), pod)).within(0, 1).from(0.9, "red"),
				graph("Pods' memory saturation", units.Short, "How many times in the last five minutes the kernel killed a process at its memory limit, and how often containers were started again.",
					each(by("pod", "sum", `increase(container_oom_events_total{CLUSTER,container!=""}[5m])`), pod+" out of memory"),
					each(by("pod", "sum", `increase(kube_pod_container_status_restarts_total{CLUSTER}[5m])`), pod+" restarts")).fromZero(),
				graph("Pods' network", units.BytesPerSecondSI, "Received and sent.",
					each(by("pod", "sum", rate(`container_network_receive_bytes_total{CLUSTER}`)), pod+" received"),
					each(by("pod", "sum", rate(`container_network_transmit_bytes_total{CLUSTER}`)), pod+" sent")).fromZero(),
				graph("Pods by phase", units.Short, "Pods that run, wait for a node, or have failed.",
					each(by("phase", "sum", `kube_pod_status_phase{CLUSTER}`), "{{phase}}")).fromZero(),
			)},
		},
	}
	return allElsewhere(b, onlyKubernetes)
}

// regions makes a panel for each region's Prometheus, which knows its own nodes only.
func regions(panels ...Panel) []Panel {
	var out []Panel
	for _, p := range panels {
		for _, side := range []string{Source, Destination} {
			one := p
			one.Title += ": " + strings.ToLower(side)
			one.Queries = nil
			for _, q := range p.Queries {
				q.Side = side
				one.Queries = append(one.Queries, q)
			}
			out = append(out, one)
		}
	}
	return out
}
