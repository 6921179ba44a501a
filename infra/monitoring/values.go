package monitoring

import (
	"fmt"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

type values = map[string]any

// values are those of the chart kube-prometheus-stack 88.5.3.
// https://github.com/prometheus-community/helm-charts/blob/kube-prometheus-stack-88.5.3/charts/kube-prometheus-stack/values.yaml
func (a *StackArgs) values() values {
	off := values{"enabled": false}
	retention := a.Retention.Hours()
	if retention == 0 {
		retention = 7 * 24
	}
	size := a.RetentionSize
	if size == "" {
		size = "40GB"
	}
	prometheus := a.Prometheus
	if prometheus == (kube.Resources{}) {
		prometheus = kube.Resources{CPU: "1", Memory: "6Gi"}
	}
	spec := values{
		"retention":          fmt.Sprintf("%.0fh", retention),
		"retentionSize":      size,
		"scrapeInterval":     scrapeInterval,
		"evaluationInterval": scrapeInterval,
		"externalLabels":     values{"region": a.Region},
		"resources":          resources(prometheus.CPU, prometheus.Memory),
		// Without these it would take only what the release itself made.
		"podMonitorSelectorNilUsesHelmValues":     false,
		"serviceMonitorSelectorNilUsesHelmValues": false,
		"ruleSelectorNilUsesHelmValues":           false,
	}
	operator := values{
		// No webhook, and so neither its certificate nor the Jobs that make it: what the operator reads is
		// checked by tests, and by Prometheus.
		"admissionWebhooks":        off,
		"tls":                      off,
		"resources":                resources("50m", "256Mi"),
		"prometheusConfigReloader": values{"resources": resources("10m", "64Mi")},
	}
	stateMetrics := values{"resources": resources("50m", "256Mi")}
	nodeExporter := values{"resources": resources("50m", "64Mi")}
	v := values{
		"prometheus":               values{"prometheusSpec": spec},
		"prometheusOperator":       operator,
		"kube-state-metrics":       stateMetrics,
		"prometheus-node-exporter": nodeExporter,
		// Rules fire in Prometheus and show in Grafana. Nobody is on call for a test, so nobody is told.
		"alertmanager": off,
		// On EKS these are AWS's, or listen where nobody can ask them.
		"kubeControllerManager": off,
		"kubeScheduler":         off,
		"kubeEtcd":              off,
		"kubeProxy":             off,
		"grafana":               off,
	}
	if a.Grafana != nil {
		v["grafana"] = a.Grafana.values(a)
	}
	a.Images.set(spec, operator, stateMetrics, nodeExporter)
	return v
}

// set puts the images that are given into the charts' values. Every chart has its own way.
func (i *Images) set(prometheus, operator, stateMetrics, nodeExporter values) {
	if i.Prometheus != "" {
		prometheus["image"] = image(i.Prometheus, "sha", false)
	}
	if i.Operator != "" {
		operator["image"] = image(i.Operator, "sha", false)
	}
	if i.Reloader != "" {
		operator["prometheusConfigReloader"].(values)["image"] = image(i.Reloader, "sha", false)
	}
	if i.StateMetrics != "" {
		stateMetrics["image"] = image(i.StateMetrics, "sha", true)
	}
	if i.NodeExporter != "" {
		nodeExporter["image"] = image(i.NodeExporter, "digest", true)
	}
}

// image writes an image's reference as values, its digest under key, with or without "sha256:".
func image(ref, key string, prefix bool) values {
	p := kube.SplitImage(ref)
	digest := p.Digest
	if !prefix {
		digest = strings.TrimPrefix(digest, "sha256:")
	}
	v := values{"registry": p.Registry, "repository": p.Repository, key: digest}
	if p.Tag != "" {
		v["tag"] = p.Tag
	}
	return v
}

// values of the sub-chart grafana 12.11.1.
// https://github.com/grafana-community/helm-charts/blob/main/charts/grafana/values.yaml
func (g *GrafanaArgs) values(a *StackArgs) values {
	sidecar := values{
		"resources":  resources("10m", "128Mi"),
		"dashboards": values{"searchNamespace": a.Namespace},
		"datasources": values{
			"searchNamespace": a.Namespace,
			"name":            a.Region,
			"uid":             g.Own,
			"url":             fmt.Sprintf("http://prometheus.%s.svc:%d", a.Namespace, PrometheusPort),
			"alertmanager":    values{"enabled": false},
		},
	}
	v := values{
		"fullnameOverride": "grafana",
		"admin":            values{"existingSecret": adminSecret, "userKey": "admin-user", "passwordKey": "admin-password"},
		"rbac":             values{"namespaced": true}, // the sidecars read ConfigMaps of this namespace only
		"sidecar":          sidecar,
		"resources":        resources("100m", "512Mi"),
		"testFramework":    values{"enabled": false},
		"grafana.ini": values{
			"analytics": values{"check_for_updates": false, "check_for_plugin_updates": false, "reporting_enabled": false},
			"plugins":   values{"preinstall_disabled": true}, // else it fetches some from the internet
			"users":     values{"allow_sign_up": false},
		},
	}
	if g.Peer != nil {
		v["additionalDataSources"] = []any{values{
			"name": g.Peer.Region, "uid": g.Peer.UID, "type": "prometheus", "access": "proxy", "editable": false,
			"url": g.Peer.URL, "jsonData": values{"timeInterval": scrapeInterval, "httpMethod": "POST"},
		}}
	}
	if a.Images.Grafana != "" {
		v["image"] = image(a.Images.Grafana, "sha", false)
	}
	if a.Images.Sidecar != "" {
		sidecar["image"] = image(a.Images.Sidecar, "sha", false)
	}
	return v
}

// detectorValues are those of the chart node-problem-detector 2.4.1.
// https://github.com/deliveryhero/helm-charts/blob/master/stable/node-problem-detector/values.yaml
func (a *AddOn) detectorValues() values {
	v := values{
		"settings":  values{"log_monitors": []any{"/config/kernel-monitor.json", "/config/readonly-monitor.json"}}, // there is no Docker
		"metrics":   values{"enabled": true, "serviceMonitor": values{"enabled": true}},
		"resources": resources("20m", "128Mi"),
	}
	if a.Image != "" {
		p := kube.SplitImage(a.Image)
		v["image"] = values{"repository": p.Registry + "/" + p.Repository, "digest": p.Digest}
	}
	return v
}

// metricsServerValues are those of the chart metrics-server 3.13.1.
// https://github.com/kubernetes-sigs/metrics-server/blob/master/charts/metrics-server/values.yaml
func (a *AddOn) metricsServerValues() values {
	v := values{
		"resources": resources("100m", "256Mi"),
		// The chart's own level is restricted; it only leaves out the pod's.
		"podSecurityContext": values{"runAsNonRoot": true, "seccompProfile": values{"type": "RuntimeDefault"}},
	}
	if a.Image != "" {
		// The chart joins repository and tag by a colon.
		p := kube.SplitImage(a.Image)
		v["image"] = values{"repository": p.Registry + "/" + p.Repository + "@sha256", "tag": strings.TrimPrefix(p.Digest, "sha256:")}
	}
	return v
}

func resources(cpu, memory string) values {
	return values{"requests": values{"cpu": cpu, "memory": memory}, "limits": values{"memory": memory}}
}
