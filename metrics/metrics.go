// Package metrics declares the names, labels and ports of everything that the
// load tools export to Prometheus, once, so that exporters, dashboards and
// alert rules cannot disagree.
package metrics

// Default ports of /metrics, /healthz and /readyz.
const (
	ConsumerPort = 8000
	ProducerPort = 8001
	AuditorPort  = 8002
)

// Labels.
const (
	LabelTopic     = "topic"     // name at the source
	LabelPartition = "partition" // of the destination in the consumer's metrics, else of the source
	LabelReason    = "reason"    // of a record that was not sent or failed, such as "message too large"
	LabelKind      = "kind"      // of a record that is not a good one of this test, such as corrupt
	LabelOutcome   = "outcome"   // of a verdict: holds, broken, cannot_say
	LabelSide      = "side"      // of an event: source or destination
	LabelTest      = "test"      // id of the test, on every metric of a load tool but those of Go and the process
	LabelVersion   = "version"
)

// Every program.
const (
	// BuildInfo is a gauge, always 1, labelled with the version.
	BuildInfo = "kmt_build_info"
)

// Producer, by topic.
const (
	ProducerRecords    = "kmt_producer_records_total"             // counter: acknowledged
	ProducerBytes      = "kmt_producer_bytes_total"               // counter: values of those
	ProducerScheduled  = "kmt_producer_scheduled_records_total"   // counter: asked for by the schedule
	ProducerShed       = "kmt_producer_shed_records_total"        // counter, also by reason: never sent, since the buffer was full or the ledger slow
	ProducerErrors     = "kmt_producer_errors_total"              // counter, also by reason: sends that failed
	ProducerUnresolved = "kmt_producer_unresolved_total"          // counter, also by reason: sends whose outcome is unknown
	ProducerSuspect    = "kmt_producer_suspect_records_total"     // counter: acknowledged, then the client saw the source lose data
	ProducerLatency    = "kmt_producer_ack_latency_seconds"       // histogram: from intended time to acknowledgement
	ProducerInFlight   = "kmt_producer_in_flight_records"         // gauge: buffered or on the way
	ProducerRate       = "kmt_producer_target_records_rate"       // gauge: records per second asked for; 0: as fast as possible; absent while nothing is asked for
	ProducerTopics     = "kmt_producer_topics"                    // gauge, no label
	ProducerPartitions = "kmt_producer_partitions"                // gauge
	ProducerLate       = "kmt_producer_late_seconds"              // gauge, no label: the producer itself is behind its schedule
	ProducerBuffered   = "kmt_producer_buffered_bytes"            // gauge, no label: memory of records without an outcome
	ProducerFull       = "kmt_producer_buffer_full_seconds_total" // counter, no label: time for which the buffer was full
)

// Consumer, by topic.
const (
	ConsumerRecords    = "kmt_consumer_records_total"    // counter: read, of whatever kind
	ConsumerBytes      = "kmt_consumer_bytes_total"      // counter: keys and values of those
	ConsumerFirst      = "kmt_consumer_first_total"      // counter: first arrivals
	ConsumerDuplicates = "kmt_consumer_duplicates_total" // counter: arrivals after the first
	ConsumerReplays    = "kmt_consumer_replays_total"    // counter: maximal runs of duplicates
	ConsumerReordered  = "kmt_consumer_reordered_total"  // counter: first arrivals below their stream's maximum
	ConsumerMisplaced  = "kmt_consumer_misplaced_total"  // counter: on another partition than the mapping says
	ConsumerRejected   = "kmt_consumer_rejected_total"   // counter, also by kind: not readable, damaged, or of another test
	ConsumerOutages    = "kmt_consumer_outages_total"    // counter: silences in which something was due
	ConsumerUnobserved = "kmt_consumer_unobserved_total" // counter: offsets that retention or a truncation took before they were read
	ConsumerRollbacks  = "kmt_consumer_rollbacks_total"  // counter: truncations of, and replacements for, a partition's log
	ConsumerLatency    = "kmt_consumer_latency_seconds"  // histogram: intended time to arrival, of first arrivals
	ConsumerLag        = "kmt_consumer_lag_records"      // gauge: at the destination and not yet read by the tester
	ConsumerPartitions = "kmt_consumer_partitions"       // gauge: assigned to this process
	ConsumerStreams    = "kmt_consumer_streams"          // gauge: streams in memory
)

// Ledgers; every program that writes one.
const (
	LedgerBytes  = "kmt_ledger_bytes_total"            // counter: stored
	LedgerErrors = "kmt_ledger_errors_total"           // counter: snapshots that could not be stored
	LedgerAge    = "kmt_ledger_age_seconds"            // gauge: since the last stored snapshot
	LedgerEvery  = "kmt_ledger_interval_seconds"       // gauge: between snapshots, as adapted to the load
	LedgerTime   = "kmt_ledger_store_duration_seconds" // histogram: to store one snapshot
)

// Auditor, by topic unless noted.
const (
	AuditorLost            = "kmt_auditor_lost_records"             // gauge
	AuditorSkipped         = "kmt_auditor_skipped_records"          // gauge
	AuditorPending         = "kmt_auditor_pending_records"          // gauge: acknowledged, not yet at the destination
	AuditorUndelivered     = "kmt_auditor_undelivered_records"      // gauge
	AuditorIndeterminate   = "kmt_auditor_indeterminate_records"    // gauge
	AuditorUnobserved      = "kmt_auditor_unobserved_records"       // gauge
	AuditorDestinationLost = "kmt_auditor_destination_lost_records" // gauge
	AuditorDuplicates      = "kmt_auditor_duplicate_records"        // gauge
	AuditorReordered       = "kmt_auditor_reordered_records"        // gauge
	AuditorCorrupt         = "kmt_auditor_corrupt_records"          // gauge
	AuditorMisplaced       = "kmt_auditor_misplaced_records"        // gauge
	AuditorPhantom         = "kmt_auditor_phantom_records"          // gauge
	AuditorRPORecords      = "kmt_auditor_rpo_records"              // gauge, also by partition
	AuditorRPOSeconds      = "kmt_auditor_rpo_seconds"              // gauge, also by partition
	AuditorOutcome         = "kmt_auditor_outcome"                  // gauge, by outcome only: 1 for the present one
	AuditorControlOK       = "kmt_auditor_control_ok"               // gauge, no label: the positive control was reported
	AuditorClockOffset     = "kmt_auditor_clock_offset_seconds"     // gauge, no label: destination's clock minus producers'
	AuditorClockBound      = "kmt_auditor_clock_bound_seconds"      // gauge, no label: plus or minus
	AuditorEvent           = "kmt_auditor_event_timestamp_seconds"  // gauge, by kind and side only: when such an event, as a fault or a step, last began
)

// LatencyBuckets are the upper bounds, in seconds, of latency histograms: from
// a local hop to the longest halt that was seen in practice, 20 minutes.
func LatencyBuckets() []float64 {
	return []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1200}
}
