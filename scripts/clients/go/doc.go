// Package catraca is a client of catraca, the payment-decision engine, with nothing but the standard library.
//
// It speaks the client protocol (wire/PROTOCOL.md), version 1. One Client keeps one connection to the node that decides, and is
// for as many goroutines as like: their requests travel together, and each gets its answer. When the connection is lost, or
// another node has become the primary, the Client connects again and sends again what is unanswered, which is safe: the server
// gives the same transaction the same decision.
package catraca
