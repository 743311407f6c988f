package catraca

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// fakeNode welcomes every connection, and gives each SUBMIT to answer, which says what to send back; nothing where it is nil.
func fakeNode(t *testing.T, inFlight uint32, answer func(raw []byte) []byte) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			socket, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer socket.Close()
				if _, err := io.ReadFull(socket, make([]byte, 128)); err != nil {
					return
				}
				body := make([]byte, 112)
				body[0], body[1], body[2], body[40] = 1, 1, 1, 1
				binary.LittleEndian.PutUint32(body[44:], 512)
				binary.LittleEndian.PutUint32(body[48:], inFlight)
				socket.Write(frame(kindWelcome, 0, body))
				for {
					raw := make([]byte, 192)
					if _, err := io.ReadFull(socket, raw); err != nil {
						return
					}
					if reply := answer(raw); reply != nil {
						socket.Write(reply)
					}
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// approve answers a SUBMIT; its lsn is the amount.
func approve(raw []byte) []byte {
	body := make([]byte, 48)
	body[0] = byte(Approve)
	copy(body[30:38], raw[76:84])
	return frame(kindVerdict, binary.LittleEndian.Uint64(raw[8:]), body)
}

func connectTo(t *testing.T, options Options) *Client {
	t.Helper()
	client, err := Connect(context.Background(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func pay(amount int64) Transaction {
	return Transaction{ID: "order-1", Payer: "049.332.286-80", Payee: "12.ABC.345/01DE-35", AmountCentavos: amount}
}

func TestManyGoroutinesShareAClient(t *testing.T) {
	client := connectTo(t, Options{Addresses: []string{fakeNode(t, 7, approve)}})
	var group sync.WaitGroup
	for number := int64(1); number <= 500; number++ {
		group.Add(1)
		go func(number int64) {
			defer group.Done()
			// On a machine that is busy one may run out of time; it is never given another one's answer.
			if decision, err := client.Decide(context.Background(), pay(number)); err == nil && decision.LSN != uint64(number) {
				t.Errorf("%d has the answer of %d", number, decision.LSN)
			}
		}(number)
	}
	group.Wait()
}

func TestAContextThatEndsFirstIsNoAnswer(t *testing.T) {
	asked := make(chan struct{}, 10)
	silent := func([]byte) []byte { asked <- struct{}{}; return nil }
	client := connectTo(t, Options{Addresses: []string{fakeNode(t, 7, silent)}})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-asked; cancel() }()
	_, err := client.Decide(ctx, pay(1))
	var none *NoAnswerError
	if !errors.As(err, &none) || !errors.Is(err, context.Canceled) || none.Recorded() != RecordedPerhaps {
		t.Fatal(err)
	}
}

func TestAnAnswerToWhatWasCancelledIsDropped(t *testing.T) {
	cancelled, gate := make(chan struct{}), make(chan struct{})
	late := func(raw []byte) []byte {
		if raw[76] == 1 {
			close(cancelled)
			<-gate
		}
		return approve(raw)
	}
	client := connectTo(t, Options{Addresses: []string{fakeNode(t, 7, late)}})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-cancelled; cancel() }()
	if _, err := client.Decide(ctx, pay(1)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(gate)
	decision, err := client.Decide(context.Background(), pay(2))
	if err != nil || decision.LSN != 2 {
		t.Fatal(decision, err)
	}
}

func TestACancelledRequestKeepsItsPlaceUntilItIsAnswered(t *testing.T) {
	var lock sync.Mutex
	var seen []byte
	first := make(chan struct{})
	silent := func(raw []byte) []byte {
		lock.Lock()
		defer lock.Unlock()
		seen = append(seen, raw[76])
		if raw[76] == 1 {
			close(first)
			return nil
		}
		return approve(raw)
	}
	client := connectTo(t, Options{Addresses: []string{fakeNode(t, 1, silent)}})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-first; cancel() }()
	if _, err := client.Decide(ctx, pay(1)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	short := pay(2)
	short.Budget = 50 * time.Millisecond
	_, err := client.Decide(context.Background(), short)
	var known Error
	if !errors.As(err, &known) || known.Recorded() != RecordedNo {
		t.Fatal("the only place is taken:", err)
	}
	lock.Lock()
	defer lock.Unlock()
	if len(seen) != 1 {
		t.Fatal(seen)
	}
}

func TestRenewalsOfManyGoroutinesWaitForEachOther(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const renewals = 5
	early := make(chan bool, renewals)
	go func() {
		defer listener.Close()
		socket, err := listener.Accept()
		if err != nil {
			return
		}
		defer socket.Close()
		io.ReadFull(socket, make([]byte, 128))
		body := make([]byte, 112)
		body[0], body[1], body[2], body[40] = 1, 1, 1, 1
		binary.LittleEndian.PutUint32(body[44:], 512)
		binary.LittleEndian.PutUint32(body[48:], 7)
		socket.Write(frame(kindWelcome, 0, body))
		for number := 0; number < renewals; number++ {
			raw := make([]byte, 512)
			if _, err := io.ReadFull(socket, raw); err != nil {
				return
			}
			// A second one would be here before this one is answered.
			socket.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			count, _ := socket.Read(make([]byte, 1))
			socket.SetReadDeadline(time.Time{})
			early <- count > 0
			socket.Write(frame(27, binary.LittleEndian.Uint64(raw[8:]), make([]byte, 16)))
		}
		socket.Read(make([]byte, 1))
	}()
	client := connectTo(t, Options{Addresses: []string{listener.Addr().String()}, AnswerTimeout: time.Minute})
	failed := make(chan error, renewals)
	for number := 0; number < renewals; number++ {
		go func() {
			_, err := client.Renew(context.Background(), "token")
			failed <- err
		}()
	}
	for number := 0; number < renewals; number++ {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		if <-early {
			t.Fatal("a second AUTH came before the first one was answered")
		}
	}
}

func TestClosingTellsThoseWhoWait(t *testing.T) {
	asked := make(chan struct{}, 10)
	silent := func([]byte) []byte { asked <- struct{}{}; return nil }
	client := connectTo(t, Options{Addresses: []string{fakeNode(t, 7, silent)}})
	replies := client.Submit(pay(1))
	<-asked
	client.Close()
	client.Close()
	var none *NoAnswerError
	if reply := <-replies; !errors.As(reply.Err, &none) {
		t.Fatal(reply)
	}
	var never *ConnectError
	if _, err := client.Decide(context.Background(), pay(2)); !errors.As(err, &never) {
		t.Fatal(err)
	}
}

func TestNothingIsApprovedByAccident(t *testing.T) {
	if (Decision{}).Verdict == Approve {
		t.Fatal("the zero decision")
	}
	if text := (Options{Credential: "sesame"}).String(); text != `catraca at [] as ""` {
		t.Fatal(text)
	}
}

func TestLearnedAddressesAreFewAndTheConfiguredOnesStay(t *testing.T) {
	r := newRoute([]string{"a:1"}, true)
	for number := 0; number < 50; number++ {
		r.beginRound()
		named := "x:" + string(rune('A'+number))
		if !r.standby(named) || r.address() != named {
			t.Fatal(r)
		}
	}
	if len(r.places) != 1+maxLearned || r.places[0].address != "a:1" || r.places[4].address != "x:r" {
		t.Fatal(r)
	}
	secured := newRoute([]string{"a:1", "b:1"}, false)
	if secured.standby("x:1") || secured.address() != "b:1" || len(secured.places) != 2 {
		t.Fatal("a port in clear is no place for TLS", secured)
	}
}

func TestPausesDoubleWithinBounds(t *testing.T) {
	x := newExchange(Options{Addresses: []string{"a:1"}, ReconnectBase: 50 * time.Millisecond, ReconnectMax: 2 * time.Second}, nil)
	for x.failures = 0; x.failures < 200; x.failures++ {
		whole := 2 * time.Second
		if x.failures < 2 {
			whole = 0
		} else if x.failures < 8 {
			whole = 50 * time.Millisecond << (x.failures - 2)
		}
		if pause := x.pause(); pause < whole/2 || pause > whole {
			t.Fatal(x.failures, pause)
		}
	}
}
