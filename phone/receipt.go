package phone

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"

	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/proof/receipt"
)

// maxLogKeys bounds what is read as the log's key file, in bytes.
const maxLogKeys = 64 << 10

// Receipt is what this phone holds of a completion that it recorded.
type Receipt struct {
	// CompletionID is the completion's id, the same in every channel.
	CompletionID string `json:"completion_id"`
	// TaskID is what was completed.
	TaskID string `json:"task_id"`
	// Sealed: the receipt is the seal's, every photo has arrived. Otherwise it is the claim's, or has not come yet.
	Sealed bool `json:"sealed"`
	// Superseded: the task was opened again before every photo had arrived, and another completion came in the place of this one, which
	// will never be sealed.
	Superseded bool `json:"superseded,omitempty"`
	// Text is the receipt (C2SP tlog-proof), for `fieldsync verify`. Empty until it has come.
	Text []byte `json:"text,omitempty"`
	// Reopened is the receipt of the opening again, of one that is superseded.
	Reopened []byte `json:"reopened,omitempty"`
}

// final tells whether no other receipt will ever come.
func (r *Receipt) final() bool { return r.Sealed || r.Superseded }

// Receipts lists the receipts of this phone's completions, by id: the newest last.
func (p *Phone) Receipts() (list []Receipt, err error) {
	err = p.view(func(tx *bolt.Tx, _ *state) error {
		for r, err := range receipts(tx) {
			if err != nil {
				return err
			}
			list = append(list, *r)
		}
		return nil
	})
	return list, err
}

// LogKeys are the log's public keys as this phone got them with its first receipt, for `fieldsync verify --key`. Empty before.
func (p *Phone) LogKeys() (keys []byte, err error) {
	err = p.view(func(_ *bolt.Tx, st *state) error { keys = []byte(st.LogKeys); return nil })
	return keys, err
}

// owe takes down that a receipt is to come for a completion that was applied.
func owe(tx *bolt.Tx, m *fieldsyncv1.Mutation, v *fieldsyncv1.Verdict) error {
	id := v.GetCompletionId()
	if id == "" || tx.Bucket(bucketReceipts).Get([]byte(id)) != nil {
		return nil
	}
	return putJSON(tx.Bucket(bucketReceipts), []byte(id), &Receipt{CompletionID: id, TaskID: m.GetTaskId()})
}

// unproven are the tasks that this phone has completed without holding the seal's receipt, or the proof that there will be none: nothing
// of them is deleted.
func unproven(tx *bolt.Tx) (map[string]bool, error) {
	tasks := make(map[string]bool)
	for q, err := range outbox(tx) {
		if err != nil {
			return nil, err
		}
		if q.mutation.GetComplete() != nil {
			tasks[q.mutation.GetTaskId()] = true
		}
	}
	for r, err := range receipts(tx) {
		if err != nil {
			return nil, err
		}
		if !r.final() {
			tasks[r.TaskID] = true
		}
	}
	return tasks, nil
}

// fetchReceipts gets every receipt that is owed and may be had: of a completion without any, and of one that has been sealed since
// its claim's receipt came. Each is checked and durable before the next.
func (p *Phone) fetchReceipts(ctx context.Context) error {
	var wanted []*Receipt
	err := p.view(func(tx *bolt.Tx, _ *state) (err error) {
		wanted, err = owedReceipts(tx)
		return err
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, r := range wanted {
		if err := p.fetchReceipt(ctx, r); err != nil {
			p.log.WarnContext(ctx, "no receipt", "completion_id", r.CompletionID, "task_id", r.TaskID, "error", err)
			failed = append(failed, fmt.Errorf("the receipt of %s: %w", r.CompletionID, err))
			if fault.KindOf(err) == fault.Unavailable {
				break
			}
		}
	}
	return errors.Join(failed...)
}

func owedReceipts(tx *bolt.Tx) (owed []*Receipt, err error) {
	for r, err := range receipts(tx) {
		if err != nil {
			return nil, err
		}
		wants, err := wantsReceipt(tx, r)
		if err != nil {
			return nil, err
		}
		if wants {
			owed = append(owed, r)
		}
	}
	return owed, nil
}

func wantsReceipt(tx *bolt.Tx, r *Receipt) (bool, error) {
	if r.final() || len(r.Text) == 0 {
		return !r.final(), nil
	}
	task, err := getTask(tx, r.TaskID)
	// A task that has left the scope, or rests on another completion by now, tells nothing of this one's seal any more: ask.
	completion := task.GetCompletion()
	return task == nil || completion.GetProofState() >= fieldsyncv1.ProofState_PROOF_STATE_SEALED || completion.GetCompletionId() != r.CompletionID, err
}

func (p *Phone) fetchReceipt(ctx context.Context, r *Receipt) error {
	var got *fieldsyncv1.GetReceiptResponse
	err := p.authorised(ctx, func(ctx context.Context, server, bearer string) error {
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		client := fieldsyncv1connect.NewProofServiceClient(p.http, server, clientOptions()...)
		var err error
		got, err = client.GetReceipt(withBearer(callCtx, bearer), &fieldsyncv1.GetReceiptRequest{CompletionId: r.CompletionID})
		return callFault(ctx, err)
	})
	if err != nil {
		return err
	}
	proven, err := p.checkReceipt(ctx, got.GetReceipt())
	if err != nil {
		return err
	}
	superseded := proven.Kind == receipt.Claimed && got.GetSupersededBy() != ""
	if superseded { // That it was taken back the log has to say.
		reopened, err := p.checkReceipt(ctx, got.GetReopened())
		if err != nil {
			return err
		}
		if reopened.Kind != receipt.Reopened || !reopened.Corrects(proven) {
			return errAnswer("the receipt of another reopening")
		}
	}
	return p.update(func(tx *bolt.Tx, st *state) error {
		if proven.Record.GetCompletionId() != r.CompletionID || proven.Record.GetDeviceId() != st.DeviceID {
			return errAnswer("the receipt of another completion")
		}
		kept := *r
		kept.Text, kept.Sealed = got.GetReceipt(), proven.Kind == receipt.Sealed
		if superseded {
			kept.Superseded, kept.Reopened = true, got.GetReopened()
		}
		return putJSON(tx.Bucket(bucketReceipts), []byte(r.CompletionID), &kept)
	})
}

// checkReceipt checks a receipt with the log's keys: those that this phone has, or where they are not enough (the log has a new one,
// or the server was restored), those that the server publishes now.
func (p *Phone) checkReceipt(ctx context.Context, text []byte) (*receipt.Proven, error) {
	held, err := p.LogKeys()
	if err != nil {
		return nil, err
	}
	if keys, err := receipt.ParseKeys(held); err == nil {
		if proven, err := receipt.Verify(text, keys); fault.CodeOf(err) != "checkpoint_unsigned" {
			return proven, err
		}
	}
	published, err := p.publishedLogKeys(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := receipt.ParseKeys(published)
	if err != nil {
		return nil, err
	}
	proven, err := receipt.Verify(text, keys)
	if err != nil {
		return nil, err
	}
	return proven, p.update(func(_ *bolt.Tx, st *state) error { st.LogKeys = string(published); return nil })
}

func (p *Phone) publishedLogKeys(ctx context.Context) ([]byte, error) {
	server, err := p.Server()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/.well-known/fieldsync-log-keys.txt", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := p.http.Do(request)
	if err != nil {
		return nil, callFault(ctx, err)
	}
	defer func() { _ = response.Body.Close() }() // Read only.
	if err := statusFault(response.StatusCode); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxLogKeys))
	if err != nil {
		return nil, unreachable(err)
	}
	return text, nil
}

// receipts yields what is held and owed, by the completion's id.
func receipts(tx *bolt.Tx) iter.Seq2[*Receipt, error] {
	return func(yield func(*Receipt, error) bool) {
		cursor := tx.Bucket(bucketReceipts).Cursor()
		for k, v := cursor.First(); k != nil; k, v = cursor.Next() {
			r := new(Receipt)
			err := json.Unmarshal(v, r)
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}
