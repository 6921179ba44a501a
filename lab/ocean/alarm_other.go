//go:build !linux

package ocean

import "time"

// alarm is a timer. It rings once more than asked for at times, which its user does not mind.
type alarm struct {
	clock clock
	timer *time.Timer
	end   chan struct{}
}

func newAlarm(c clock) (*alarm, error) {
	a := &alarm{clock: c, timer: time.NewTimer(time.Hour), end: make(chan struct{})}
	a.timer.Stop()
	return a, nil
}

func (a *alarm) set(at time.Duration) { a.timer.Reset(at - a.clock.now()) }

func (a *alarm) wait() bool {
	select {
	case <-a.timer.C:
		return true
	case <-a.end:
		return false
	}
}

func (a *alarm) close() error {
	a.timer.Stop()
	close(a.end)
	return nil
}
