package phone

import (
	"sync/atomic"
	"time"
)

const (
	// smallestPage is how many bytes of tasks an answer may carry where nothing is known of the link: what a cut costs.
	smallestPage = 64 << 10
	largestPage  = 1 << 20
	// pageGrowth is by how much a page may be larger than one that came quickly.
	pageGrowth = 4
	// quickPage and slowPage are how long a page takes on a good link and on a bad one.
	quickPage = time.Second
	slowPage  = 10 * time.Second
)

// pages sizes the answers of syncs. Each answer is compressed by itself and takes effect by itself: large ones cost fewer bytes
// and calls, small ones lose less to a cut. So a page is as large as the link has shown itself to be good.
type pages struct {
	// fixed is what the app wants, 0 where it leaves that to the phone.
	fixed uint32
	now   atomic.Uint32
}

func (p *pages) budget() uint32 {
	if p.fixed != 0 {
		return p.fixed
	}
	return max(p.now.Load(), smallestPage)
}

// came notes how long an answer took. One that was not full says little of the link, unless it was slow.
func (p *pages) came(took time.Duration, full bool) {
	switch {
	case took > slowPage:
		p.now.Store(smallestPage)
	case full && took <= quickPage:
		p.now.Store(min(p.budget()*pageGrowth, largestPage))
	}
}

// lost notes that no answer came.
func (p *pages) lost() { p.now.Store(smallestPage) }
