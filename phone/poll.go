package phone

import (
	"context"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// Way is how a phone hears of changes on the server.
type Way string

// The ways. A phone that was never enrolled or never watched is said to use the stream, with which it will begin.
const (
	WayStream Way = "stream"
	WayPoll   Way = "long-poll"
)

// maxDeaths is how many streams in a row may die before their second message, while syncs go through, until the network is
// taken for one that kills streams.
const maxDeaths = 3

// patience is how long a phone waits for what, while it watches.
type patience struct {
	// first is for a stream's first message, which the server sends at once. What comes later was held back on its way.
	first time.Duration
	// silence is for any further one: three of the server's keep-alives.
	silence time.Duration
	// wait is for a long poll: below the 30 seconds after which many proxies give a request up.
	wait time.Duration
	// poll is for how long a network is believed to kill streams.
	poll time.Duration
}

func defaultPatience() patience {
	return patience{first: 10 * time.Second, silence: 90 * time.Second, wait: 25 * time.Second, poll: 30 * time.Minute}
}

// way is how to watch now. A wall clock that was set back ends the memory, too.
func (p *Phone) way(st *state) Way {
	if since := p.clock().Sub(st.PollSince); !st.PollSince.IsZero() && since >= 0 && since < p.patience.poll {
		return WayPoll
	}
	return WayStream
}

// preferPoll remembers that streams do not live on this network. The deaths stay counted: when the memory ends, one more
// death is enough.
func (p *Phone) preferPoll() error {
	p.log.Info("streams do not live on this network: long polls from now on")
	return p.update(func(_ *bolt.Tx, st *state) error {
		st.PollSince = p.clock()
		return nil
	})
}

// offline forgets what was learnt about the network: the next one may be another.
func (p *Phone) offline() error {
	p.deaths.Store(0)
	learnt := false
	if err := p.view(func(_ *bolt.Tx, st *state) error { learnt = !st.PollSince.IsZero(); return nil }); err != nil || !learnt {
		return err
	}
	return p.update(func(_ *bolt.Tx, st *state) error {
		st.PollSince = time.Time{}
		return nil
	})
}

// poll asks once. nil: there is something to sync.
func (p *Phone) poll(ctx context.Context, held *head) error {
	// An answer that comes early and says nothing new must not be followed by the next question at once, for ever: the
	// server shuts down, or something on the way answers for it.
	early := time.NewTimer(p.patience.wait / 2)
	defer early.Stop()
	var answer *fieldsyncv1.AwaitChangeResponse
	err := p.authorised(ctx, func(ctx context.Context, server, bearer string) error {
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		client := fieldsyncv1connect.NewSyncServiceClient(p.http, server, clientOptions()...)
		var err error
		answer, err = client.AwaitChange(withBearer(callCtx, bearer), &fieldsyncv1.AwaitChangeRequest{
			Sequence: held.Sequence, WaitSeconds: uint32(p.patience.wait / time.Second), //nolint:gosec // Below a minute.
		})
		return callFault(ctx, err)
	})
	if err != nil {
		return err
	}
	if same, err := p.standsAt(answer.GetHead()); err != nil || !same {
		return err
	}
	select {
	case <-early.C:
		return errWatchOn
	default:
		return unreachable(errors.New("the long poll was answered early"))
	}
}
