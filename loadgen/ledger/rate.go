package ledger

// TopicRate is what one life of a producer did to one topic in one second.
type TopicRate struct {
	_         struct{} `cbor:",toarray"`
	Topic     string
	Scheduled uint64 // records asked for by the schedule
	Acked     uint64
	Bytes     uint64 // values of the acknowledged ones
	Shed      uint64
	Failed    uint64 // certainly not written
	AckP99    int64  // 99th percentile from intended time to acknowledgement, in microseconds; 0: none
}
