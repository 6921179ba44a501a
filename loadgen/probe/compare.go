package probe

import (
	"bytes"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The costs of an alignment: a field that differs, and a record that has no
// counterpart. Two records that differ in less than three of four fields are
// rather one record that was changed than one lost and one that came from nowhere.
const (
	fieldCost = 2
	aloneCost = 3
)

// pair is a record of the source and what became of it; either may be nil.
type pair struct{ source, destination *kgo.Record }

// align finds which record of the destination's log is which of the source's, by
// the cheapest explanation: records need not say who they are, since one without
// key, value and headers is among those that a replicator has to copy.
func align(source, destination []*kgo.Record) []pair {
	var out, tail []pair
	for len(source) > 0 && len(destination) > 0 && len(differences(source[0], destination[0])) == 0 {
		out = append(out, pair{source[0], destination[0]})
		source, destination = source[1:], destination[1:]
	}
	for len(source) > 0 && len(destination) > 0 {
		s, d := source[len(source)-1], destination[len(destination)-1]
		if len(differences(s, d)) > 0 {
			break
		}
		tail = append(tail, pair{s, d})
		source, destination = source[:len(source)-1], destination[:len(destination)-1]
	}

	// cost[i][j] is that of explaining what is left from i and j on.
	n, m := len(source), len(destination)
	width := m + 1
	cost := make([]int32, (n+1)*width)
	change := make([]int32, n*m)
	for i := n; i >= 0; i-- {
		for j := m; j >= 0; j-- {
			switch at := i*width + j; {
			case i == n:
				cost[at] = int32(m-j) * aloneCost
			case j == m:
				cost[at] = int32(n-i) * aloneCost
			default:
				c := int32(fieldCost * changedFields(source[i], destination[j]))
				change[i*m+j] = c
				cost[at] = min(c+cost[at+width+1], aloneCost+cost[at+width], aloneCost+cost[at+1])
			}
		}
	}
	for i, j := 0, 0; i < n || j < m; {
		at := i*width + j
		switch {
		case i < n && j < m && cost[at] == change[i*m+j]+cost[at+width+1]:
			out = append(out, pair{source[i], destination[j]})
			i, j = i+1, j+1
		case i < n && (j == m || cost[at] == aloneCost+cost[at+width]):
			out = append(out, pair{source[i], nil})
			i++
		default:
			out = append(out, pair{nil, destination[j]})
			j++
		}
	}
	for k := len(tail) - 1; k >= 0; k-- {
		out = append(out, tail[k])
	}
	return out
}

// The fields of a record that a replicator has to keep.
const (
	keyField       = "key"
	valueField     = "value"
	headersField   = "headers"
	timestampField = "timestamp"
)

// difference is one field that is not as it was.
type difference struct {
	field               string // one of the above
	where               string // exactly, such as headers[2].value
	source, destination string // shortened
}

// changedFields is how many fields differ.
func changedFields(s, d *kgo.Record) int {
	n := 0
	for _, same := range []bool{sameBytes(s.Key, d.Key), sameBytes(s.Value, d.Value), sameHeaders(s.Headers, d.Headers), sameTime(s, d)} {
		if !same {
			n++
		}
	}
	return n
}

// sameBytes tells nil, which is null in Kafka, from empty.
func sameBytes(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func sameHeaders(a, b []kgo.RecordHeader) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Key != b[i].Key || !sameBytes(a[i].Value, b[i].Value) {
			return false
		}
	}
	return true
}

func sameTime(s, d *kgo.Record) bool {
	return s.Timestamp.UnixMilli() == d.Timestamp.UnixMilli() && s.Attrs.TimestampType() == d.Attrs.TimestampType()
}

// differences are the fields that differ, with the first place in the headers.
func differences(s, d *kgo.Record) []difference {
	var out []difference
	if !sameBytes(s.Key, d.Key) {
		out = append(out, difference{keyField, keyField, shorten(s.Key), shorten(d.Key)})
	}
	if !sameBytes(s.Value, d.Value) {
		out = append(out, difference{valueField, valueField, shorten(s.Value), shorten(d.Value)})
	}
	if !sameHeaders(s.Headers, d.Headers) {
		out = append(out, headerDifference(s.Headers, d.Headers))
	}
	if !sameTime(s, d) {
		out = append(out, difference{timestampField, timestampField, stamp(s), stamp(d)})
	}
	return out
}

func headerDifference(s, d []kgo.RecordHeader) difference {
	for i := range min(len(s), len(d)) {
		if s[i].Key != d[i].Key || !sameBytes(s[i].Value, d[i].Value) {
			what := "value"
			if s[i].Key != d[i].Key {
				what = "key"
			}
			return difference{headersField, fmt.Sprintf("headers[%d].%s", i, what), header(s[i]), header(d[i])}
		}
	}
	i := min(len(s), len(d))
	where := fmt.Sprintf("headers[%d] of %d, %d arrived", i, len(s), len(d))
	if len(s) > len(d) {
		return difference{headersField, where, header(s[i]), "absent"}
	}
	return difference{headersField, where, "absent", header(d[i])}
}

func header(h kgo.RecordHeader) string { return shorten([]byte(h.Key)) + "=" + shorten(h.Value) }

// stamp writes a record's time with the kind that it is.
func stamp(r *kgo.Record) string {
	kind := "CreateTime"
	switch r.Attrs.TimestampType() {
	case 1:
		kind = "LogAppendTime"
	case -1:
		kind = "no timestamp type"
	}
	return fmt.Sprintf("%s %d (%s)", kind, r.Timestamp.UnixMilli(), r.Timestamp.UTC().Format(time.RFC3339))
}

// shorten writes bytes for people: what is null, and the beginning of what is long.
func shorten(b []byte) string {
	const most = 48
	switch {
	case b == nil:
		return "null"
	case len(b) > most:
		return fmt.Sprintf("%q… (%d bytes)", b[:most], len(b))
	}
	return fmt.Sprintf("%q", b)
}

// content is what makes two records the same, as a key of a map. A timestamp is
// no part of it, since a cluster may set its own.
func content(r *kgo.Record) string {
	var b []byte
	part := func(of []byte) {
		if of == nil {
			b = append(b, "-;"...)
			return
		}
		b = fmt.Appendf(b, "%d:%s;", len(of), of)
	}
	part(r.Key)
	part(r.Value)
	for _, h := range r.Headers {
		part([]byte(h.Key))
		part(h.Value)
	}
	return string(b)
}
