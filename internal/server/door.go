package server

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// reservedDescriptors stay free for the store, the photos and calls to other servers, whatever is configured.
const reservedDescriptors = 512

// door bounds how many connections stand open. Where one more comes, the one goes that has waited longest without being at a
// request: half open, in the middle of its headers, or idle. So ten thousand connections that never finish a header cost what the
// bound allows, and whoever has something to say gets in: its headers are there within a round trip. Only where every connection is at
// a request is the newcomer turned away.
type door struct {
	limit int

	mu      sync.Mutex
	open    int
	waiting *list.List // of net.Conn, the one that has waited longest first
	known   map[net.Conn]*list.Element
}

func newDoor(limit int) *door {
	if most := descriptors(); most > 0 {
		limit = min(limit, max(most-reservedDescriptors, most/2))
	}
	return &door{limit: limit, waiting: list.New(), known: make(map[net.Conn]*list.Element)}
}

// changed is the http.Server's ConnState.
func (d *door) changed(conn net.Conn, state http.ConnState) {
	if turnedAway := d.account(conn, state); turnedAway != nil {
		// Not tls.Conn.Close, which says goodbye first: to whoever takes nothing, for five seconds.
		if secured, ok := turnedAway.(*tls.Conn); ok {
			turnedAway = secured.NetConn()
		}
		_ = turnedAway.Close()
	}
}

// account returns the connection that has to go, if one has.
func (d *door) account(conn net.Conn, state http.ConnState) net.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	place, known := d.known[conn]
	switch state {
	case http.StateNew:
		d.open++
		d.known[conn] = d.waiting.PushBack(conn)
		if d.limit > 0 && d.open > d.limit {
			gone, _ := d.waiting.Front().Value.(net.Conn) // The newcomer itself, where no other waits.
			d.forget(gone)
			return gone
		}
	case http.StateActive:
		if known && place != nil {
			d.waiting.Remove(place)
			d.known[conn] = nil
		}
	case http.StateIdle:
		if known && place == nil {
			d.known[conn] = d.waiting.PushBack(conn)
		}
	case http.StateClosed, http.StateHijacked:
		if known {
			d.forget(conn)
		}
	}
	return nil
}

func (d *door) forget(conn net.Conn) {
	if place := d.known[conn]; place != nil {
		d.waiting.Remove(place)
	}
	delete(d.known, conn)
	d.open--
}
