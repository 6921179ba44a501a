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
	spec := values{
		"image":              image(a.Images.Prometheus, "sha", false),
		"retention":          "168h",
		"retentionSize":      fmt.Sprintf("%dGB", a.RetentionGiB), // in GiB, for Prometheus: samples lie on a node's root volume, and go with the pod
		"scrapeInterval":     scrapeInterval,
		"evaluationInterval": scrapeInterval,
		"externalLabels":     values{"region": a.Region},
		"resources":          resources("1", "6Gi"), // by estimate enough for 30 brokers with 150 partitions and 40 nodes
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
		"image":                    image(a.Images.Operator, "sha", false),
		"resources":                resources("50m", "256Mi"),
		"prometheusConfigReloader": values{"image": image(a.Images.Reloader, "sha", false), "resources": resources("10m", "64Mi")},
	}
	v := values{
		"prometheus":               values{"prometheusSpec": spec},
		"prometheusOperator":       operator,
		"kube-state-metrics":       values{"image": image(a.Images.StateMetrics, "sha", true), "resources": resources("50m", "256Mi")},
		"prometheus-node-exporter": values{"image": image(a.Images.NodeExporter, "digest", true), "resources": resources("50m", "64Mi")},
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
	return v
}

// image writes an image's reference as values, its digest under key, with or without "sha256:": every
// chart has its own way. Without a tag the chart's own stays beside the digest, which decides.
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
		"image":      image(a.Images.Sidecar, "sha", false),
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
		"image":            image(a.Images.Grafana, "sha", false),
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
	return v
}

// detectorValues are those of the chart node-problem-detector 2.4.1.
// https://github.com/deliveryhero/helm-charts/blob/master/stable/node-problem-detector/values.yaml
func (a *AddOn) detectorValues() values {
	p := kube.SplitImage(a.Image)
	return values{
		"image":     values{"repository": p.Registry + "/" + p.Repository, "digest": p.Digest},
		"settings":  values{"log_monitors": []any{"/config/kernel-monitor.json", "/config/readonly-monitor.json"}}, // there is no Docker
		"metrics":   values{"enabled": true, "serviceMonitor": values{"enabled": true}},
		"resources": resources("20m", "128Mi"),
	}
}

// metricsServerValues are those of the chart metrics-server 3.13.1.
// https://github.com/kubernetes-sigs/metrics-server/blob/master/charts/metrics-server/values.yaml
func (a *AddOn) metricsServerValues() values {
	p := kube.SplitImage(a.Image)
	return values{
		// The chart joins repository and tag by a colon.
		"image":     values{"repository": p.Registry + "/" + p.Repository + "@sha256", "tag": strings.TrimPrefix(p.Digest, "sha256:")},
		"resources": resources("100m", "256Mi"),
		// The chart's own level is restricted; it only leaves out the pod's.
		"podSecurityContext": values{"runAsNonRoot": true, "seccompProfile": values{"type": "RuntimeDefault"}},
	}
}

func resources(cpu, memory string) values {
	return values{"requests": values{"cpu": cpu, "memory": memory}, "limits": values{"memory": memory}}
}
