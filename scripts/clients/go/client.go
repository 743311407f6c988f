package catraca

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// MaxInFlight is how many frames are unanswered on a connection at most, whatever the server would allow.
	MaxInFlight = 65_536
	// MaxUnanswered is how many requests wait at most, those included that have not been sent: bounds the memory.
	MaxUnanswered = 2 * MaxInFlight
)

// Options say where to connect, who the client is, and how long it waits. The zero value of each means what its comment says.
type Options struct {
	// Addresses are host:port of each node, in order of preference; 127.0.0.1:7400 where there are none.
	Addresses []string
	// AnyRole stays with the first node that answers, a standby too, which is enough to look up. Without it the client leaves a
	// standby for the node that decides, and follows when another one becomes it.
	AnyRole bool
	// Credential is the token that the operator gave, or an access token of an issuer, of which Renew takes a newer one: at most
	// 8192 bytes. Name is of this program, at most 40.
	Credential, Name string
	// TLS has every connection speak TLS to the nodes' port for it (listen_tls); nil sends
	// everything in clear.
	TLS *TLS
	// InFlight is how many frames may be unanswered; 0 leaves it to the server.
	InFlight uint32
	// ConnectTimeout is for one address and its WELCOME; 0 means 2 s.
	ConnectTimeout time.Duration
	// AnswerTimeout is the longest wait for an answer, reconnects included; 0 means 2.5 s. A transaction's budget and half a second
	// is the limit where that is less.
	AnswerTimeout time.Duration
	// ReconnectBase and ReconnectMax bound the pauses between rounds of attempts; 0 means 50 ms and 2 s.
	ReconnectBase, ReconnectMax time.Duration
	// Lazy leaves connecting to the first request, which waits for a primary as long as for its answer.
	Lazy bool

	timing timing
}

// String shows no credential.
func (o Options) String() string { return fmt.Sprintf("catraca at %v as %q", o.Addresses, o.Name) }

// GoString is String, so that %#v shows no more.
func (o Options) GoString() string { return o.String() }

func (o *Options) check() error {
	o.Addresses = append([]string{}, o.Addresses...)
	if len(o.Addresses) == 0 {
		o.Addresses = []string{"127.0.0.1:7400"}
	}
	seen := map[string]bool{}
	for _, address := range o.Addresses {
		if !isAddress(address) || seen[address] {
			return &FieldError{fmt.Sprintf("%q is no host:port, or is given twice", address)}
		}
		seen[address] = true
	}
	for _, setting := range []struct {
		value    *time.Duration
		standard time.Duration
	}{{&o.ConnectTimeout, 2 * time.Second}, {&o.AnswerTimeout, MaxBudget + answerGrace},
		{&o.ReconnectBase, 50 * time.Millisecond}, {&o.ReconnectMax, 2 * time.Second}} {
		if *setting.value < 0 || *setting.value > time.Hour {
			return &FieldError{"a time-out or pause is at most an hour, and not negative"}
		}
		if *setting.value == 0 {
			*setting.value = setting.standard
		}
	}
	if o.InFlight > MaxInFlight {
		return &FieldError{fmt.Sprintf("at most %d frames may be unanswered", MaxInFlight)}
	}
	if o.timing == (timing{}) {
		o.timing = protocolTiming
	}
	return nil
}

// Client is a connection to the node that decides, kept alive over failures. It is for many goroutines at once.
type Client struct {
	exchange *exchange
	stop     chan struct{}
	once     sync.Once
}

// Connect makes a client, and unless it is lazy connects to the first address whose node takes it, trying each. Close it at last.
func Connect(ctx context.Context, options Options) (*Client, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	hello, err := greeting(options.Credential, options.Name, options.InFlight, 0)
	if err != nil {
		return nil, err
	}
	x := newExchange(options, hello)
	if options.TLS != nil {
		if x.secured, err = options.TLS.config(); err != nil {
			return nil, err
		}
	}
	c := &Client{exchange: x, stop: make(chan struct{})}
	first := make(chan error, 1)
	if options.Lazy {
		first <- nil
	} else {
		c.exchange.first = first
	}
	go c.exchange.run(c.stop)
	select {
	case err = <-first:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the client at once. Answers that are owed are lost, and those who wait are told so; decisions are not lost.
func (c *Client) Close() {
	c.once.Do(func() { close(c.stop) })
	<-c.exchange.closed
}

// Decide gives the decision on a transaction, within its budget and half a second. It sends again after OVERLOADED and
// RATE_LIMITED as long as the budget lasts, and over a lost connection or another node. An error is an Error, which tells whether
// there may be a decision all the same; it is never an approval. Where the context ends first, that is a *NoAnswerError with its
// cause.
func (c *Client) Decide(ctx context.Context, transaction Transaction) (*Decision, error) {
	body, err := transaction.encode()
	if err != nil {
		return nil, err
	}
	budgetEnd := time.Now().Add(budgetOf(transaction))
	sendings := 0
	for {
		e := c.submission(body, budgetOf(transaction), budgetEnd)
		e.sendings = sendings
		answer, err := c.ask(ctx, e)
		if err == nil {
			return answer.(*Decision), nil
		}
		refused, ok := err.(*Refused)
		if !ok || refused.Code != Overloaded && refused.Code != RateLimited {
			return nil, err
		}
		if refused.doubtful {
			// One of them got no answer, and stays in doubt.
			sendings = 1
		}
		pause := refused.RetryAfter
		if pause < time.Millisecond {
			pause = time.Millisecond
		}
		if time.Until(budgetEnd) <= pause {
			return nil, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, refused
		}
	}
}

// Reply is the answer to one submitted transaction: a decision, or the error instead.
type Reply struct {
	Decision *Decision
	Err      error
}

// Submit sends a transaction and does not wait: the channel gets its one Reply. It is not sent again after OVERLOADED and
// RATE_LIMITED.
func (c *Client) Submit(transaction Transaction) <-chan Reply {
	replies := make(chan Reply, 1)
	body, err := transaction.encode()
	if err != nil {
		replies <- Reply{Err: err}
		return replies
	}
	e := c.submission(body, budgetOf(transaction), time.Now().Add(budgetOf(transaction)))
	e.ended = func(o outcome) {
		decision, _ := o.answer.(*Decision)
		replies <- Reply{decision, o.err}
	}
	if !c.exchange.post(func() { c.exchange.add(e) }) {
		replies <- Reply{Err: errClosed}
	}
	return replies
}

// Lookup gives the stored decision on a transaction; payer is empty, or says whose where ids may repeat between payers. *Refused
// with NotFound where there is none.
func (c *Client) Lookup(ctx context.Context, id, payer string) (*StoredDecision, error) {
	body, err := lookupBody(id, payer)
	if err != nil {
		return nil, err
	}
	answer, err := c.ask(ctx, c.request(kindLookup, body))
	if err != nil {
		return nil, err
	}
	return answer.(*StoredDecision), nil
}

// Ping gives the server's clock, nanoseconds since 1970 UTC.
func (c *Client) Ping(ctx context.Context) (uint64, error) {
	answer, err := c.ask(ctx, c.request(kindPing, make([]byte, 8)))
	if err != nil {
		return 0, err
	}
	return uint64(answer.(pong)), nil
}

// Cluster gives the node's part in its cluster.
func (c *Client) Cluster(ctx context.Context) (*ClusterState, error) {
	answer, err := c.ask(ctx, c.request(kindCluster, describeBody()))
	if err != nil {
		return nil, err
	}
	return answer.(*ClusterState), nil
}

// Renew goes on with a newer token of the same client, on the connection in use and on all that come. Whatever is unanswered
// stays so. It gives until when the token counts, nanoseconds since 1970 UTC; 0 for no end. *Refused with Unauthenticated,
// Forbidden (of another client) or Overloaded (it can't be checked now): the one before counts until its end. So it does after
// *NoAnswerError, and connections come with it until a server has taken the newer one. Renewals wait for each other.
func (c *Client) Renew(ctx context.Context, token string) (expiresAtNs uint64, err error) {
	if err := checkToken(token); err != nil {
		return 0, err
	}
	x := c.exchange
	hello, err := greeting(token, x.options.Name, x.options.InFlight, 0)
	if err != nil {
		return 0, err
	}
	e := c.request(kindAuth, []byte(token))
	e.greeting = hello
	ended := make(chan outcome, 1)
	e.ended = func(o outcome) { ended <- o }
	begin := func() {
		x.newer = hello
		x.add(e)
	}
	answer, err := c.wait(ctx, e, begin, ended)
	if err != nil {
		return 0, err
	}
	return uint64(answer.(authState)), nil
}

// TokenExpiresAtNs is until when the token of the connection in use counts, nanoseconds since 1970 UTC: then the server closes it,
// unless Renew was called before. 0 for a credential without an end, and without a connection.
func (c *Client) TokenExpiresAtNs() uint64 {
	said := make(chan uint64, 1)
	tell := func() {
		if c.exchange.connection == nil {
			said <- 0
		} else {
			said <- c.exchange.connection.expiresAtNs
		}
	}
	if !c.exchange.post(tell) {
		return 0
	}
	select {
	case expiresAtNs := <-said:
		return expiresAtNs
	case <-c.exchange.closed:
		return 0
	}
}

// Welcome is what the server said of itself on the latest connection; nil where there was none.
func (c *Client) Welcome() *Welcome {
	said := make(chan *Welcome, 1)
	if !c.exchange.post(func() { said <- c.exchange.welcome }) {
		return nil
	}
	select {
	case welcome := <-said:
		return welcome
	case <-c.exchange.closed:
		return nil
	}
}

var errClosed = &ConnectError{Detail: "the client is closed"}

func budgetOf(transaction Transaction) time.Duration {
	if transaction.Budget == 0 {
		return MaxBudget
	}
	return transaction.Budget
}

func (c *Client) submission(transaction []byte, budget time.Duration, budgetEnd time.Time) *entry {
	e := c.request(kindSubmit, submitBody(transaction))
	e.budget, e.budgetEnd = budget, budgetEnd
	if end := budgetEnd.Add(answerGrace); end.Before(e.deadline) {
		e.deadline = end
	}
	return e
}

func (c *Client) request(kind byte, body []byte) *entry {
	deadline := time.Now().Add(c.exchange.options.AnswerTimeout)
	return &entry{kind: kind, body: body, deadline: deadline}
}

func (c *Client) ask(ctx context.Context, e *entry) (interface{}, error) {
	ended := make(chan outcome, 1)
	e.ended = func(o outcome) { ended <- o }
	return c.wait(ctx, e, func() { c.exchange.add(e) }, ended)
}

// wait has a request begin, and waits for its end.
func (c *Client) wait(ctx context.Context, e *entry, begin func(), ended <-chan outcome) (interface{}, error) {
	if !c.exchange.post(begin) {
		return nil, errClosed
	}
	select {
	case o := <-ended:
		return o.answer, o.err
	case <-ctx.Done():
		c.exchange.post(func() { c.exchange.abandon(e) })
		return nil, &NoAnswerError{Detail: ctx.Err().Error(), Cause: ctx.Err()}
	}
}
