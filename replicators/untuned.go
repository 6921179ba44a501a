package replicators

// MirrorMaker2Untuned returns the settings, for Overrides, of a MirrorMaker 2 as one gets it that reads no
// manual: with the clients' own socket buffers, which over an ocean of 80 ms hold each connection to
// 1.6 MB/s, and with the five minutes that the tasks of a worker that has gone stand still.
func MirrorMaker2Untuned() map[string]string {
	p := map[string]string{}
	for _, client := range []string{"source.consumer", "source.admin", "destination.consumer", "destination.admin", "destination.producer"} {
		p[client+".send.buffer.bytes"] = "131072"
		p[client+".receive.buffer.bytes"] = "65536"
	}
	p["destination.producer.receive.buffer.bytes"] = "32768"
	p[rebalanceDelay] = "300000"
	return p
}
