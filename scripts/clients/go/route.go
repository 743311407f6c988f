package catraca

import (
	"net"
	"strconv"
	"strings"
)

const (
	// Addresses learned from WELCOME that are kept beside the configured ones.
	maxLearned = 4
	isStandby  = "is a standby"
)

// isAddress: host:port, IPv6 in brackets.
func isAddress(address string) bool {
	host, port, err := net.SplitHostPort(address)
	number, wrong := strconv.ParseUint(port, 10, 16)
	return err == nil && host != "" && wrong == nil && number > 0
}

type place struct {
	address string
	// What it said last; empty where nothing is known.
	seen string
	// Tried since the last pause.
	tried bool
}

// route is where to connect next: the configured addresses in turn, and what servers say of the primary. No socket here.
type route struct {
	// The configured ones first, then the learned ones, oldest first.
	places     []place
	configured int
	next       int
	// Takes up addresses that servers name. They are of ports in clear, so that a client that
	// speaks TLS does not.
	learns bool
}

func newRoute(addresses []string, learns bool) route {
	r := route{configured: len(addresses), learns: learns}
	for _, address := range addresses {
		r.places = append(r.places, place{address: address})
	}
	return r
}

func (r *route) address() string { return r.places[r.next].address }

func (r *route) others() []string {
	var others []string
	for at, place := range r.places {
		if at != r.next {
			others = append(others, place.address)
		}
	}
	return others
}

func (r *route) isExhausted() bool {
	for _, place := range r.places {
		if !place.tried {
			return false
		}
	}
	return true
}

// beginRound: a pause has passed, and every address may be tried again.
func (r *route) beginRound() {
	for at := range r.places {
		r.places[at].tried = false
	}
}

// found: the node here takes us.
func (r *route) found() {
	for at := range r.places {
		r.places[at].seen = ""
	}
}

func (r *route) foundAt(address string) {
	if at := r.indexOf(address); at >= 0 {
		r.next = at
	}
	r.found()
}

// failed: nothing is to be had here now. The next one is one that was not tried since the last pause, if there is any.
func (r *route) failed(seen string) {
	r.places[r.next].seen, r.places[r.next].tried = seen, true
	first := (r.next + 1) % len(r.places)
	for step := range r.places {
		if at := (first + step) % len(r.places); !r.places[at].tried {
			r.next = at
			return
		}
	}
	r.next = first
}

// standby: the node here follows, and names this primary. True: that one is next, and was not tried since the last pause.
func (r *route) standby(primary string) bool {
	r.failed(isStandby)
	if primary == "" {
		return false
	}
	at := r.indexOf(primary)
	if at < 0 {
		if !r.learns {
			return false
		}
		if len(r.places) == r.configured+maxLearned {
			r.places = append(r.places[:r.configured], r.places[r.configured+1:]...)
		}
		r.places = append(r.places, place{address: primary})
		at = len(r.places) - 1
	} else if r.places[at].tried {
		return false
	}
	r.next = at
	return true
}

// noPrimary is what the addresses said, where one of them is a standby; else empty.
func (r *route) noPrimary() string {
	var said []string
	found := false
	for _, place := range r.places {
		if place.seen != "" {
			said = append(said, place.address+" "+place.seen)
			found = found || place.seen == isStandby
		}
	}
	if !found {
		return ""
	}
	return "no primary: " + strings.Join(said, "; ")
}

func (r *route) indexOf(address string) int {
	for at, place := range r.places {
		if place.address == address {
			return at
		}
	}
	return -1
}
