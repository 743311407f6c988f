package catraca

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"runtime"
	"sort"
	"sync/atomic"
	"time"
)

const (
	// How long after a transaction's budget its answer is waited for: the way to the server and back.
	answerGrace = 500 * time.Millisecond
	// A wait that takes nothing from a budget worth telling the server.
	unnoticed = time.Millisecond
	forEver   = 365 * 24 * time.Hour
)

// outcome is how a request ended: an answer, or an error.
type outcome struct {
	answer interface{}
	err    error
}

// entry is a request that has not ended.
type entry struct {
	correlation uint64
	kind        byte
	body        []byte
	// When to stop waiting for its answer.
	deadline time.Time
	// When its budget is over; zero where it has none.
	budgetEnd time.Time
	budget    time.Duration
	// It went out on the connection in use; and how often on any.
	sent     bool
	sendings int
	// Of a token: what connections begin with once it is accepted.
	greeting []byte
	// The caller does not wait any more. It keeps its place until it is answered, because the server counts it.
	abandoned bool
	// Told the outcome, once; must not wait.
	ended func(outcome)
}

// due is when it ends without an answer. What can't be sent has no answer to wait for.
func (e *entry) due() time.Time {
	if !e.sent && !e.budgetEnd.IsZero() && e.budgetEnd.Before(e.deadline) {
		return e.budgetEnd
	}
	return e.deadline
}

// exchange is what is unanswered, and the promise about it: each request gets its answer, over as many connections as that takes,
// or is given up when its time is over. One goroutine owns all of it and runs what the others post.
type exchange struct {
	options Options
	// What connections begin with: of the newest credential that a server took; and of a newer one that no server has taken or
	// refused, nil where there is none.
	hello, newer []byte
	// The AUTH that this connection has not answered, given up or not; nil where there is none. A server takes no second one before
	// that.
	auth *entry
	// How connections are made secure; nil where they are not.
	secured *tls.Config
	events  chan func()
	closed  chan struct{}
	// How many are posting just now.
	posting int32
	isEnded bool

	connection *connection
	welcome    *Welcome
	unanswered map[uint64]*entry
	// To be sent on this connection, oldest first; some may have ended.
	unsent []uint64
	// How many went out on this connection.
	carried int
	// No request is due before this. Saves looking through all at each answer.
	earliest        time.Time
	nextCorrelation uint64
	recovery
}

func newExchange(options Options, hello []byte) *exchange {
	now := time.Now()
	return &exchange{
		options: options, hello: hello, events: make(chan func(), 1024), closed: make(chan struct{}),
		unanswered: map[uint64]*entry{}, earliest: now.Add(forEver), nextCorrelation: 1,
		recovery: recovery{
			route: newRoute(options.Addresses, options.TLS == nil), notBefore: now, nextLook: now,
		},
	}
}

// post has the exchange run something, in its order, which happens then also if it is told to stop. False: it has stopped.
func (x *exchange) post(event func()) bool {
	atomic.AddInt32(&x.posting, 1)
	defer atomic.AddInt32(&x.posting, -1)
	select {
	case <-x.closed:
		return false
	default:
	}
	select {
	case x.events <- event:
		return true
	case <-x.closed:
		return false
	}
}

// run moves everything until it is told to stop.
func (x *exchange) run(stop <-chan struct{}) {
	timer := time.NewTimer(0)
	for {
		select {
		case <-stop:
			close(x.closed)
			x.end()
			return
		case event := <-x.events:
			event()
			// What has come counts, however late it is looked at: before any deadline does.
			for more := len(x.events); more > 0; more-- {
				(<-x.events)()
			}
		case <-timer.C:
		}
		now := time.Now()
		x.endExpired(now)
		x.connectIfWanted(now)
		x.sendUnsent(now)
		x.lookElsewhere(now)
		if !timer.Stop() {
			select {
			case <-timer.C:
			default:
			}
		}
		timer.Reset(time.Until(x.wakeAt()))
	}
}

// wakeAt is when something is to be done although nothing happens.
func (x *exchange) wakeAt() time.Time {
	at := x.earliest
	if x.isWanted() && !x.connecting && x.notBefore.Before(at) {
		at = x.notBefore
	}
	if look, ok := x.looksAt(); ok && look.Before(at) {
		at = look
	}
	return at
}

// add takes a request.
func (x *exchange) add(e *entry) {
	if len(x.unanswered) >= MaxUnanswered {
		e.ended(outcome{err: &ConnectError{Detail: fmt.Sprintf("%d requests wait for their answers already", MaxUnanswered)}})
		return
	}
	if x.isEnded {
		e.ended(outcome{err: errClosed})
		return
	}
	e.correlation = x.nextCorrelation
	x.nextCorrelation++
	x.unanswered[e.correlation] = e
	x.unsent = append(x.unsent, e.correlation)
	x.noteDue(e)
}

func (x *exchange) noteDue(e *entry) {
	if due := e.due(); due.Before(x.earliest) {
		x.earliest = due
	}
}

// abandon is for a caller that does not wait any more.
func (x *exchange) abandon(e *entry) {
	if x.unanswered[e.correlation] == e && !e.sent {
		delete(x.unanswered, e.correlation)
	}
	e.abandoned = true
}

// limit is how many may be unanswered on the connection.
func (x *exchange) limit() int {
	limit := min(x.welcome.InFlight, MaxInFlight)
	if x.options.InFlight > 0 {
		limit = min(limit, x.options.InFlight)
	}
	return int(limit)
}

// sendUnsent sends what this connection has not carried yet, as far as its limit allows.
func (x *exchange) sendUnsent(now time.Time) {
	var held []uint64
	for x.connection != nil && len(x.unsent) > 0 && x.carried < x.limit() {
		e := x.unanswered[x.unsent[0]]
		x.unsent = x.unsent[1:]
		if e == nil {
			continue
		}
		if e.kind == kindAuth && x.auth != nil {
			held = append(held, e.correlation)
			continue
		}
		if !e.budgetEnd.IsZero() {
			left := e.budgetEnd.Sub(now).Truncate(time.Microsecond)
			if left <= 0 {
				// Sent now it could be decided after its budget: it is over.
				x.expire(e)
				continue
			}
			// One that was sent before, or waited, has less than it began with.
			if e.sendings > 0 || left < e.budget-unnoticed {
				body := append([]byte{}, e.body...)
				setBudget(body, left)
				e.body = body
			}
		}
		e.sent = true
		e.sendings++
		raw := frame(e.kind, e.correlation, e.body)
		if e.kind == kindAuth {
			// Not counted: it may wait for somebody else, the issuer, and says nothing of the node.
			x.auth = e
			raw = tokenFrames(e.body, e.correlation)
		} else {
			if x.carried == 0 {
				x.quietSince = now
			}
			x.carried++
		}
		select {
		case x.connection.output <- raw:
		default:
			// It has room for all that may be unanswered.
			x.lose(&ProtocolError{"it answered what it had not read"})
			return
		}
	}
	x.unsent = append(held, x.unsent...)
}

// endExpired ends what is due. What went out and got nothing says that the connection is dead, although nobody told us; but
// for AUTH.
func (x *exchange) endExpired(now time.Time) {
	if now.Before(x.earliest) {
		return
	}
	dead := false
	for _, correlation := range x.inOrder() {
		if e := x.unanswered[correlation]; !now.Before(e.due()) {
			dead = dead || e.sent && e.kind != kindAuth
			x.expire(e)
		}
	}
	if dead && x.connection != nil {
		x.lose(&NoAnswerError{Detail: "the server did not answer in time"})
	}
	x.earliest = now.Add(forEver)
	for _, e := range x.unanswered {
		x.noteDue(e)
	}
}

// expire ends a request whose time is over.
func (x *exchange) expire(e *entry) {
	why := x.lastFailure
	if said := x.route.noPrimary(); said != "" {
		why = said
	}
	if why == "" {
		why = "the time for it is over"
	}
	if e.sendings > 0 {
		x.finish(e, outcome{err: &NoAnswerError{Detail: why}})
	} else {
		x.finish(e, outcome{err: &ConnectError{Detail: "not sent: " + why, NoPrimary: x.route.noPrimary() != ""}})
	}
}

func (x *exchange) finish(e *entry, with outcome) {
	delete(x.unanswered, e.correlation)
	if e.sent && e.kind != kindAuth {
		x.carried--
	}
	e.ended(with)
}

// accept matches an answer with its request; an error says that the connection is of no use any more.
func (x *exchange) accept(correlation uint64, answer interface{}) error {
	e := x.unanswered[correlation]
	refused, isRefused := answer.(*Refused)
	if e == nil && isRefused && refused.Closing {
		return refused
	}
	if e == nil && x.auth != nil && x.auth.correlation == correlation && (isRefused || answers(kindAuth, answer)) {
		// It was given up, and its answer is late.
		x.renewed(answer)
		return nil
	}
	if e == nil || !e.sent || !isRefused && !answers(e.kind, answer) {
		return &ProtocolError{fmt.Sprintf("it answered %d with what nothing asked for", correlation)}
	}
	if isRefused && x.goesElsewhere(refused.Code) {
		// Not answered yet: it goes to another node with the others.
		return refused
	}
	x.failures, x.lastFailure = 0, ""
	if e.kind == kindAuth {
		x.renewed(answer)
	}
	if !isRefused {
		x.finish(e, outcome{answer: answer})
		return nil
	}
	x.doubtful = x.doubtful || refused.Code == Unconfirmed
	refused.doubtful = e.sendings > 1
	x.finish(e, outcome{err: refused})
	if refused.Closing {
		return refused
	}
	return nil
}

// renewed takes the answer to AUTH. Where the server could not check the newer token, that may be good.
func (x *exchange) renewed(answer interface{}) {
	greeting := x.auth.greeting
	x.auth = nil
	if state, ok := answer.(authState); ok {
		x.hello = greeting
		x.connection.expiresAtNs = uint64(state)
	} else if refused, ok := answer.(*Refused); ok && refused.Code != Unauthenticated && refused.Code != Forbidden {
		return
	}
	if bytes.Equal(x.newer, greeting) {
		x.newer = nil
	}
}

func answers(kind byte, answer interface{}) bool {
	ok := false
	switch kind {
	case kindSubmit:
		_, ok = answer.(*Decision)
	case kindLookup:
		_, ok = answer.(*StoredDecision)
	case kindPing:
		_, ok = answer.(pong)
	case kindCluster:
		_, ok = answer.(*ClusterState)
	case kindAuth:
		_, ok = answer.(authState)
	}
	return ok
}

// inOrder is everything unanswered, oldest first.
func (x *exchange) inOrder() []uint64 {
	correlations := make([]uint64, 0, len(x.unanswered))
	for correlation := range x.unanswered {
		correlations = append(correlations, correlation)
	}
	sort.Slice(correlations, func(a, b int) bool { return correlations[a] < correlations[b] })
	return correlations
}

// end gives up everything, and runs what was posted meanwhile.
func (x *exchange) end() {
	x.isEnded = true
	for _, e := range x.unanswered {
		if e.sendings > 0 {
			x.finish(e, outcome{err: &NoAnswerError{Detail: "the client was closed"}})
		} else {
			x.finish(e, outcome{err: &ConnectError{Detail: "the client was closed"}})
		}
	}
	if x.connection != nil {
		x.connection.leave()
		x.connection = nil
	}
	x.forgetLooks()
	x.tellFirst(errClosed)
	for atomic.LoadInt32(&x.posting) > 0 || len(x.events) > 0 {
		select {
		case event := <-x.events:
			event()
		default:
			runtime.Gosched()
		}
	}
}
