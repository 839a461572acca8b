package store

import "sync"

// FeedTopic is signalled when a completion has entered the hotline's feed, sealed or as a claim. Whoever seals and whoever hands over
// never import each other: they meet here.
const FeedTopic = "feed"

// hub wakes whoever waits for a topic. It carries no data and loses none: a subscriber that is woken reads the store.
type hub struct {
	mu     sync.Mutex
	topics map[string]map[chan struct{}]struct{}
}

// Subscribe returns a channel that receives after each commit that signalled topic; commits that follow each other faster
// than the channel is read arrive as one. The caller must call stop when done.
func (s *Store) Subscribe(topic string) (wake <-chan struct{}, stop func()) {
	h := &s.hub
	ch := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topics == nil {
		h.topics = make(map[string]map[chan struct{}]struct{})
	}
	if h.topics[topic] == nil {
		h.topics[topic] = make(map[chan struct{}]struct{})
	}
	h.topics[topic][ch] = struct{}{}
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.topics[topic], ch)
		if len(h.topics[topic]) == 0 {
			delete(h.topics, topic)
		}
	}
}

func (h *hub) publish(topic string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.topics[topic] {
		select {
		case ch <- struct{}{}:
		default: // It has not read the last one yet: it will read the store after this commit all the same.
		}
	}
}
