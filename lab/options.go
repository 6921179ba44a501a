package lab

import "github.com/twmb/franz-go/pkg/kgo"

// ClientOptions reach the cluster of a side from here, once Start has returned.
func (l *Lab) ClientOptions(side string) []kgo.Opt { return l.cluster(side).Options() }
