package catraca

import (
	"math/rand"
	"time"
)

const (
	// Servers that name another one as the primary, followed without a pause: more of them lead nowhere.
	maxHops = 4
	// Doublings of a wait past which it is as long as it gets.
	maxDoublings = 16
)

// timing is how soon another primary is looked for; tests are less patient.
type timing struct {
	// How long nothing at all comes from a node that owes something until it is looked: far above the pauses of a healthy disk, and
	// a quarter of the longest budget. A connection attempt has as long where there is another address.
	silence time.Duration
	// How often it is looked at most, and how long an address has for its WELCOME: less, so that a round is over before the next.
	lookEvery, lookTime time.Duration
}

var protocolTiming = timing{silence: 500 * time.Millisecond, lookEvery: time.Second, lookTime: 500 * time.Millisecond}

// recovery is what of the exchange serves to find the next connection.
type recovery struct {
	route route
	// Rounds in vain and connections lost, since the last answer; and why.
	failures    int
	lastFailure string
	// Standbys followed since the last pause.
	hops int
	// An attempt is under way; none is before this.
	connecting bool
	notBefore  time.Time
	// Set while somebody waits for the first connection; told how the first round ended.
	first chan error
	// The node in use could not confirm something: it may have been replaced without knowing it.
	doubtful bool
	// When the node in use last said something, or began to owe an answer.
	quietSince time.Time
	nextLook   time.Time
	// Answers to an earlier round of looks count for nothing.
	lookRound int
}

// isWanted: somebody waits for a connection that is not there.
func (x *exchange) isWanted() bool {
	return x.connection == nil && (x.first != nil || len(x.unanswered) > 0)
}

// connectIfWanted begins an attempt at the next address, when its time has come.
func (x *exchange) connectIfWanted(now time.Time) {
	if !x.isWanted() || x.connecting || now.Before(x.notBefore) {
		return
	}
	if x.route.isExhausted() {
		x.route.beginRound()
		x.hops = 0
	}
	x.connecting = true
	address, within, hello := x.route.address(), x.patience(), x.hello
	go func() {
		c, err := connect(address, hello, x.secured, within, x.options.AnswerTimeout)
		if !x.post(func() { x.attempted(c, err) }) && c != nil {
			c.leave()
		}
	}()
}

// patience: within a request's time one address that hangs must not use up what another one could answer in. Where none answered
// so soon, all get longer.
func (x *exchange) patience() time.Duration {
	if len(x.route.places) == 1 || len(x.unanswered) == 0 {
		return x.options.ConnectTimeout
	}
	patience := x.options.timing.silence << minInt(x.failures, maxDoublings)
	if patience > x.options.ConnectTimeout {
		return x.options.ConnectTimeout
	}
	return patience
}

// attempted takes what came of an attempt.
func (x *exchange) attempted(c *connection, err error) {
	x.connecting = false
	switch {
	case x.isEnded:
		if c != nil {
			c.leave()
		}
		return
	case err != nil && x.turnsToNewer(err):
		return
	case err != nil:
		x.lastFailure = "no connection to " + x.route.address() + ": " + err.Error()
		x.route.failed("failed: " + err.Error())
		if isFinal(err) {
			x.giveUp(err)
			return
		}
	case c.welcome.Primary || x.options.AnyRole:
		x.route.found()
		x.adopt(c)
		return
	default:
		named := c.welcome.PrimaryAddress
		c.leave()
		if x.route.standby(named) && x.hops < maxHops {
			x.hops++
			return
		}
		if x.hops >= maxHops {
			x.endRound(&ConnectError{Detail: x.route.noPrimary(), NoPrimary: true})
			return
		}
	}
	if !x.route.isExhausted() {
		// The next one, without a pause.
		return
	}
	if said := x.route.noPrimary(); said != "" {
		err = &ConnectError{Detail: said, NoPrimary: true}
	}
	x.endRound(err)
}

// turnsToNewer: the old credential has come to its end, and there is a newer one.
func (x *exchange) turnsToNewer(err error) bool {
	refused, ok := err.(*Refused)
	if !ok || refused.Code != Unauthenticated || x.newer == nil {
		return false
	}
	x.hello, x.newer = x.newer, nil
	return true
}

// endRound: all addresses were tried in vain. Pause.
func (x *exchange) endRound(err error) {
	x.failures++
	x.notBefore = time.Now().Add(x.pause())
	x.route.beginRound()
	x.hops = 0
	x.tellFirst(err)
}

// pause is none after the first failure, then doubling; half of it chance, so that not all clients arrive at once.
func (x *exchange) pause() time.Duration {
	if x.failures < 2 {
		return 0
	}
	whole := x.options.ReconnectBase << minInt(x.failures-2, maxDoublings)
	if whole > x.options.ReconnectMax {
		whole = x.options.ReconnectMax
	}
	return whole/2 + time.Duration(rand.Int63n(int64(whole/2)+1))
}

// adopt uses a connection from now on, and sends everything unanswered over it.
func (x *exchange) adopt(c *connection) {
	x.connection, x.welcome, x.hops = c, c.welcome, 0
	x.quietSince = time.Now()
	x.unsent = x.inOrder()
	x.tellFirst(nil)
	go func() {
		for {
			correlation, answer, err := c.next()
			event := func() { x.received(c, correlation, answer) }
			if err != nil {
				event = func() {
					if x.connection == c {
						x.lose(err)
					}
				}
			}
			if !x.post(event) || err != nil {
				return
			}
		}
	}()
}

func (x *exchange) received(c *connection, correlation uint64, answer interface{}) {
	if x.connection != c {
		return
	}
	x.quietSince = time.Now()
	if err := x.accept(correlation, answer); err != nil {
		x.lose(err)
	}
}

// goesElsewhere: a node that is no primary may name the one that is, so one address is enough then.
func (x *exchange) goesElsewhere(code Code) bool {
	return !x.options.AnyRole && (code == NotPrimary || code == ShuttingDown && len(x.route.places) > 1)
}

// lose leaves the connection. What is unanswered waits for the next one.
func (x *exchange) lose(err error) {
	x.turnsToNewer(err)
	x.route.beginRound()
	if refused, ok := err.(*Refused); ok && refused.Code == NotPrimary {
		x.route.standby("")
	} else {
		x.route.failed("failed: " + err.Error())
	}
	x.failures++
	x.lastFailure = err.Error()
	x.notBefore = time.Now().Add(x.pause())
	x.detach()
}

func (x *exchange) detach() {
	x.connection.leave()
	x.connection, x.carried, x.auth, x.doubtful = nil, 0, nil, false
	x.forgetLooks()
	for _, e := range x.unanswered {
		e.sent = false
		if e.abandoned {
			delete(x.unanswered, e.correlation)
			continue
		}
		x.noteDue(e)
	}
	x.unsent = x.inOrder()
}

// giveUp ends everything: no attempt can change this.
func (x *exchange) giveUp(err error) {
	x.failures = 1
	x.route.beginRound()
	for _, correlation := range x.inOrder() {
		e := x.unanswered[correlation]
		if e.sendings > 0 {
			x.finish(e, outcome{err: &NoAnswerError{Detail: err.Error()}})
		} else {
			x.finish(e, outcome{err: err})
		}
	}
	x.tellFirst(err)
}

func (x *exchange) tellFirst(err error) {
	if x.first != nil {
		x.first <- err
		x.first = nil
	}
}

// looksAt is when it is to be looked whether another address is a primary too; false where that is not to be.
func (x *exchange) looksAt() (time.Time, bool) {
	if x.connection == nil || x.options.AnyRole || len(x.route.places) < 2 || !x.doubtful && x.carried == 0 {
		return time.Time{}, false
	}
	at := x.quietSince.Add(x.options.timing.silence)
	if x.doubtful || at.Before(x.nextLook) {
		at = x.nextLook
	}
	return at, true
}

// lookElsewhere asks the other addresses, beside the waiting: after UNCONFIRMED, because a primary that is cut off from its
// standby does not hear of that one's promotion, and while nothing comes. One that is a primary as well gets everything
// unanswered.
func (x *exchange) lookElsewhere(now time.Time) {
	if at, ok := x.looksAt(); !ok || now.Before(at) {
		return
	}
	x.forgetLooks()
	x.doubtful, x.nextLook = false, now.Add(x.options.timing.lookEvery)
	round := x.lookRound
	for _, address := range x.route.others() {
		address, hello := address, x.hello
		go func() {
			within := x.options.timing.lookTime
			c, err := connect(address, hello, x.secured, within, x.options.AnswerTimeout)
			if err == nil && !x.post(func() { x.looked(round, address, c) }) {
				c.leave()
			}
		}()
	}
}

// looked takes what a look has found. One that decides in an earlier epoch was replaced, and does not know it.
func (x *exchange) looked(round int, address string, c *connection) {
	if x.connection == nil || round != x.lookRound || !c.welcome.Primary || c.welcome.Epoch < x.welcome.Epoch {
		c.leave()
		return
	}
	x.lastFailure = address + " is the primary by now"
	x.failures = 0
	x.detach()
	x.route.foundAt(address)
	x.adopt(c)
}

func (x *exchange) forgetLooks() { x.lookRound++ }

func minInt(a, b int) int {
	if a < b {
		return a
	}
	return b
}
