package livemap

import (
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

// viewerName is the service account to log in as.
const viewerName = "viewer"

// may is a rule.
func may(group string, resources []string, verbs ...string) *rbacv1.PolicyRuleArgs {
	return &rbacv1.PolicyRuleArgs{
		ApiGroups: pulumi.StringArray{pulumi.String(group)},
		Resources: pulumi.ToStringArray(resources),
		Verbs:     pulumi.ToStringArray(verbs),
	}
}

// viewer is who one logs in as: Kubernetes' own role view, which leaves out secrets, and what of the
// whole cluster the map needs. The talk's had cluster-admin.
func (m *Map) viewer(ctx *pulumi.Context, args *Args, t tool) error {
	m.TokenCommand = pulumi.String("").ToStringOutput()
	if !t.login {
		return nil
	}
	app := args.app()
	account, err := corev1.NewServiceAccount(ctx, viewerName, &corev1.ServiceAccountArgs{
		Metadata:                     app.Meta(m.namespace, viewerName),
		AutomountServiceAccountToken: pulumi.Bool(false),
	}, pulumi.Parent(m))
	if err != nil {
		return fmt.Errorf("service account %s: %w", viewerName, err)
	}
	role, err := m.clusterRole(ctx, app, args.Kind+"-"+viewerName,
		may("", []string{"nodes", "namespaces", "persistentvolumes"}, "get", "list", "watch"),
		may("storage.k8s.io", []string{"storageclasses"}, "get", "list", "watch"),
		may("metrics.k8s.io", []string{"nodes", "pods"}, "get", "list"),
		may("chaos-mesh.org", []string{"*"}, "get", "list", "watch"),
		may("monitoring.coreos.com", []string{"*"}, "get", "list", "watch"),
	)
	if err != nil {
		return err
	}
	if err := m.bind(ctx, app, args.Kind+"-"+viewerName, role, account); err != nil {
		return err
	}
	if err := m.bind(ctx, app, args.Kind+"-"+viewerName+"-view", pulumi.String("view"), account); err != nil {
		return err
	}
	m.TokenCommand = pulumi.Sprintf("kubectl --namespace %s create token %s --duration 8h", m.namespace, viewerName)
	return nil
}

// global is the metadata of an object that is in no namespace: one cluster may have two maps.
func (m *Map) global(app kube.App, name string) *metav1.ObjectMetaArgs {
	return &metav1.ObjectMetaArgs{Name: pulumi.Sprintf("%s-%s", name, m.namespace), Labels: app.Labels()}
}

func (m *Map) clusterRole(ctx *pulumi.Context, app kube.App, name string, rules ...rbacv1.PolicyRuleInput) (pulumi.StringInput, error) {
	role, err := rbacv1.NewClusterRole(ctx, name, &rbacv1.ClusterRoleArgs{
		Metadata: m.global(app, name),
		Rules:    rbacv1.PolicyRuleArray(rules),
	}, pulumi.Parent(m))
	if err != nil {
		return nil, fmt.Errorf("cluster role %s: %w", name, err)
	}
	return role.Metadata.Name().Elem(), nil
}

func (m *Map) bind(ctx *pulumi.Context, app kube.App, name string, role pulumi.StringInput, account *corev1.ServiceAccount) error {
	_, err := rbacv1.NewClusterRoleBinding(ctx, name, &rbacv1.ClusterRoleBindingArgs{
		Metadata: m.global(app, name),
		RoleRef:  &rbacv1.RoleRefArgs{ApiGroup: pulumi.String("rbac.authorization.k8s.io"), Kind: pulumi.String("ClusterRole"), Name: role},
		Subjects: rbacv1.SubjectArray{&rbacv1.SubjectArgs{
			Kind: pulumi.String("ServiceAccount"), Name: account.Metadata.Name().Elem(), Namespace: m.namespace,
		}},
	}, pulumi.Parent(m))
	if err != nil {
		return fmt.Errorf("cluster role binding %s: %w", name, err)
	}
	return nil
}

// dashboardStore is where the Kubernetes dashboard keeps its keys and settings.
func (m *Map) dashboardStore(ctx *pulumi.Context, args *Args) error {
	app := args.app()
	secrets := []string{"kubernetes-dashboard-csrf", "kubernetes-dashboard-key-holder"}
	for _, name := range secrets {
		if _, err := corev1.NewSecret(ctx, name, &corev1.SecretArgs{Metadata: app.Meta(m.namespace, name)},
			// It writes them itself.
			pulumi.Parent(m), pulumi.IgnoreChanges([]string{"data", "stringData"})); err != nil {
			return fmt.Errorf("secret %s: %w", name, err)
		}
	}
	const settings = "kubernetes-dashboard-settings"
	if _, err := corev1.NewConfigMap(ctx, settings, &corev1.ConfigMapArgs{Metadata: app.Meta(m.namespace, settings)},
		pulumi.Parent(m), pulumi.IgnoreChanges([]string{"data"})); err != nil {
		return fmt.Errorf("settings of the dashboard: %w", err)
	}
	named := func(resource string, names []string, verbs ...string) *rbacv1.PolicyRuleArgs {
		rule := may("", []string{resource}, verbs...)
		rule.ResourceNames = pulumi.ToStringArray(names)
		return rule
	}
	if _, err := rbacv1.NewRole(ctx, args.Kind, &rbacv1.RoleArgs{
		Metadata: app.Meta(m.namespace, args.Kind),
		Rules: rbacv1.PolicyRuleArray{
			named("secrets", secrets, "get", "update", "delete"),
			named("configmaps", []string{settings}, "get", "update"),
		},
	}, pulumi.Parent(m)); err != nil {
		return fmt.Errorf("role of the dashboard: %w", err)
	}
	if _, err := rbacv1.NewRoleBinding(ctx, args.Kind, &rbacv1.RoleBindingArgs{
		Metadata: app.Meta(m.namespace, args.Kind),
		RoleRef:  &rbacv1.RoleRefArgs{ApiGroup: pulumi.String("rbac.authorization.k8s.io"), Kind: pulumi.String("Role"), Name: pulumi.String(args.Kind)},
		Subjects: rbacv1.SubjectArray{&rbacv1.SubjectArgs{Kind: pulumi.String("ServiceAccount"), Name: pulumi.String(args.Kind), Namespace: m.namespace}},
	}, pulumi.Parent(m)); err != nil {
		return fmt.Errorf("role binding of the dashboard: %w", err)
	}
	return nil
}

// scopeAgents report to Weave Scope: one on each node about its processes and connections, one for the
// cluster about its objects. Controls are off: the original let anyone open a shell in any container.
func (m *Map) scopeAgents(ctx *pulumi.Context, args *Args) error {
	if err := m.scopeNodes(ctx, args); err != nil {
		return err
	}
	return m.scopeCluster(ctx, args)
}

func (m *Map) scopeArgs(role string, more ...string) pulumi.StringArray {
	args := pulumi.ToStringArray(append([]string{"--mode=probe", "--probe-only", "--probe.no-controls=true", "--probe.kubernetes.role=" + role}, more...))
	return append(args, pulumi.Sprintf("%s.%s.svc:80", WeaveScope, m.namespace))
}

func (m *Map) scopeNodes(ctx *pulumi.Context, args *Args) error {
	agent := kube.App{Name: "weavescope-agent", Component: "live-map"}
	const run = "/run/containerd"
	_, err := appsv1.NewDaemonSet(ctx, agent.Name, &appsv1.DaemonSetArgs{
		Metadata: kube.Annotated(agent.Meta(m.namespace, agent.Name), kube.TimeoutSeconds, await),
		Spec: &appsv1.DaemonSetSpecArgs{
			Selector: agent.LabelSelector(),
			Template: &corev1.PodTemplateSpecArgs{
				Metadata: &metav1.ObjectMetaArgs{Labels: agent.Labels()},
				Spec: &corev1.PodSpecArgs{
					HostNetwork:                  pulumi.Bool(true),
					HostPID:                      pulumi.Bool(true),
					DnsPolicy:                    pulumi.String("ClusterFirstWithHostNet"),
					AutomountServiceAccountToken: pulumi.Bool(false),
					Tolerations:                  corev1.TolerationArray{&corev1.TolerationArgs{Operator: pulumi.String("Exists")}},
					Containers: corev1.ContainerArray{&corev1.ContainerArgs{
						Name:    pulumi.String("agent"),
						Image:   pulumi.String(args.Image),
						Command: pulumi.StringArray{pulumi.String("/home/weave/scope")},
						Args: m.scopeArgs("host", "--probe.docker=false", "--weave=false",
							"--probe.cri=true", "--probe.cri.endpoint=unix://"+run+"/containerd.sock"),
						Env: corev1.EnvVarArray{&corev1.EnvVarArgs{
							Name:      pulumi.String("SCOPE_HOSTNAME"),
							ValueFrom: &corev1.EnvVarSourceArgs{FieldRef: &corev1.ObjectFieldSelectorArgs{FieldPath: pulumi.String("spec.nodeName")}},
						}},
						Resources:       kube.Resources{CPU: "100m", CPULimit: "500m", Memory: "256Mi"}.Args(),
						SecurityContext: &corev1.SecurityContextArgs{Privileged: pulumi.Bool(true)},
						VolumeMounts: corev1.VolumeMountArray{
							&corev1.VolumeMountArgs{Name: pulumi.String("containerd"), MountPath: pulumi.String(run)},
							&corev1.VolumeMountArgs{Name: pulumi.String("debug"), MountPath: pulumi.String("/sys/kernel/debug")},
						},
					}},
					Volumes: corev1.VolumeArray{
						&corev1.VolumeArgs{Name: pulumi.String("containerd"), HostPath: &corev1.HostPathVolumeSourceArgs{Path: pulumi.String(run)}},
						&corev1.VolumeArgs{Name: pulumi.String("debug"), HostPath: &corev1.HostPathVolumeSourceArgs{Path: pulumi.String("/sys/kernel/debug")}},
					},
				},
			},
		},
	}, pulumi.Parent(m))
	if err != nil {
		return fmt.Errorf("agents of Weave Scope: %w", err)
	}
	return nil
}

func (m *Map) scopeCluster(ctx *pulumi.Context, args *Args) error {
	agent := kube.App{Name: "weavescope-cluster-agent", Component: "live-map"}
	account, err := corev1.NewServiceAccount(ctx, agent.Name, &corev1.ServiceAccountArgs{
		Metadata:                     agent.Meta(m.namespace, agent.Name),
		AutomountServiceAccountToken: pulumi.Bool(false),
	}, pulumi.Parent(m))
	if err != nil {
		return fmt.Errorf("service account of Weave Scope: %w", err)
	}
	role, err := m.clusterRole(ctx, agent, agent.Name,
		may("", []string{"pods", "replicationcontrollers", "services", "namespaces", "persistentvolumes", "persistentvolumeclaims", "nodes"}, "get", "list", "watch"),
		may("apps", []string{"deployments", "statefulsets", "daemonsets", "replicasets"}, "get", "list", "watch"),
		may("batch", []string{"cronjobs", "jobs"}, "get", "list", "watch"),
		may("storage.k8s.io", []string{"storageclasses"}, "list", "watch"),
	)
	if err != nil {
		return err
	}
	if err := m.bind(ctx, agent, agent.Name, role, account); err != nil {
		return err
	}
	if _, err := appsv1.NewDeployment(ctx, agent.Name, &appsv1.DeploymentArgs{
		Metadata: kube.Annotated(agent.Meta(m.namespace, agent.Name), kube.TimeoutSeconds, await),
		Spec: &appsv1.DeploymentSpecArgs{
			Replicas: pulumi.Int(1),
			Selector: agent.LabelSelector(),
			Template: &corev1.PodTemplateSpecArgs{
				Metadata: &metav1.ObjectMetaArgs{Labels: agent.Labels()},
				Spec: &corev1.PodSpecArgs{
					ServiceAccountName:           account.Metadata.Name(),
					AutomountServiceAccountToken: pulumi.Bool(true),
					SecurityContext:              kube.PodSecurity(),
					Containers: corev1.ContainerArray{&corev1.ContainerArgs{
						Name:            pulumi.String("agent"),
						Image:           pulumi.String(args.Image),
						Command:         pulumi.StringArray{pulumi.String("/home/weave/scope")},
						Args:            m.scopeArgs("cluster"),
						Resources:       kube.Resources{CPU: "100m", CPULimit: "500m", Memory: "256Mi"}.Args(),
						SecurityContext: kube.ContainerSecurity(),
					}},
				},
			},
		},
	}, pulumi.Parent(m)); err != nil {
		return fmt.Errorf("cluster agent of Weave Scope: %w", err)
	}
	return nil
}
