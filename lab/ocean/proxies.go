package ocean

import "fmt"

// NewProxies will make TCP proxies.
func NewProxies(Config) (Network, error) {
	return nil, fmt.Errorf("%w: TCP proxies are not built yet", ErrUnavailable)
}
