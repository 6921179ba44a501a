package probe

// The probes.
const (
	Fidelity     = "fidelity"
	Compaction   = "compaction"
	Sizes        = "sizes"
	Transactions = "transactions"
	Offsets      = "offsets"
	TopicConfig  = "topicconfig"
)

// kinds lists the probes in the order of the help.
func kinds() []kind {
	return []kind{fidelity(), compaction(), sizes(), transactions(), offsets(), topicConfig()}
}
