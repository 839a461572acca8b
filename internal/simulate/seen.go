package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// seen looks at an answer on its way to a phone.
func (w *world) seen(c call, path string, status int, body []byte) {
	if w.bad != nil {
		return
	}
	device, member := bearer(c)
	t := w.truth()
	if path == fieldsyncv1connect.SyncServiceSyncProcedure && status == 200 {
		w.seenSync(t, c, device, member, body)
	}
	if strings.HasSuffix(path, "/ListQuarantined") && status == 200 {
		listed := &fieldsyncv1.ListQuarantinedResponse{}
		if err := proto.Unmarshal(body, listed); err != nil {
			w.failf("harness", "reading a quarantine: %v", err)
		}
		w.checkSeen(t, c, member, listed.GetMutations())
	}
	if role := t.members[member].GetRole(); role == fieldsyncv1.Role_ROLE_CREW || c.set == w.ward() && path == fieldsyncv1connect.SyncServiceSyncProcedure {
		w.seenLeak(t, c, member, path, body)
	}
	if at := t.devices[device].GetRevokedAt(); at != nil && status == 200 && !delivered(path, body) {
		w.failf("revoked", "%s is locked out and was answered %s", c.set.name, path)
	}
}

// delivered tells whether an answer to a revoked device is one of those by which it gets rid of what it still has, and gives
// nothing away.
func delivered(path string, body []byte) bool {
	switch path {
	case fieldsyncv1connect.IdentityServiceRefreshProcedure, fieldsyncv1connect.MediaServiceDeclareProcedure,
		fieldsyncv1connect.MediaServiceCommitProcedure:
		return true
	case fieldsyncv1connect.SyncServiceSyncProcedure:
		answer := &fieldsyncv1.SyncResponse{}
		if err := proto.Unmarshal(body, answer); err != nil {
			return false
		}
		answer.Verdicts, answer.ServerTime = nil, nil
		return proto.Size(answer) == 0
	default:
		return strings.HasPrefix(path, "/v1/uploads/")
	}
}

// seenLeak: nothing in an answer names a task, a ticket or anything recorded, where none of the member's crews ever had it.
func (w *world) seenLeak(t *truth, c call, member, path string, body []byte) {
	for _, record := range t.tasks {
		id := record.GetTask().GetId()
		entitled := false
		for scope := range w.model.members[member] {
			entitled = entitled || w.model.scopes[id][scope]
		}
		if entitled {
			continue
		}
		secrets := []string{id, titleOf(record.GetTask().GetTicket().GetHotlineId())}
		for _, f := range w.facts {
			if f.task == id {
				secrets = append(secrets, f.key)
			}
		}
		for _, secret := range secrets {
			if bytes.Contains(body, []byte(secret)) {
				w.failf("leak", "an answer of %s to %s holds %q of %s", path, c.set.name, secret, id)
			}
		}
	}
}

// seenSync: what is sent is of the scope; a verdict that comes again is the same.
func (w *world) seenSync(t *truth, c call, device, member string, body []byte) {
	answer, request := &fieldsyncv1.SyncResponse{}, &fieldsyncv1.SyncRequest{}
	sent, err := plain(c.header, c.body)
	if err == nil {
		err = proto.Unmarshal(sent, request)
	}
	if err == nil {
		err = proto.Unmarshal(body, answer)
	}
	if err != nil {
		w.failf("harness", "reading a sync: %v", err)
		return
	}
	scope := string(t.scope(member))
	// A revoked phone only delivers: its answers hold no cursor and nothing else of a scope.
	if c.set.told != "" && c.set.told != scope && !answer.GetReset_() && len(answer.GetCursor()) > 0 {
		w.failf("drop", "%s has lost %s for %s and is not told to forget it", c.set.name, c.set.told, scope)
	}
	w.seenDelta(t, c, scope, answer)
	w.seenVerdicts(c, device, request, answer)
}

// seenDelta: what is sent is of the scope.
func (w *world) seenDelta(t *truth, c call, scope string, answer *fieldsyncv1.SyncResponse) {
	in := func(id string) bool { return slices.Contains(t.byID[id].GetScopes(), scope) }
	for _, task := range answer.GetTasks() {
		if id := task.GetTask().GetId(); !in(id) {
			w.failf("leak", "%s of %s is sent %s, which is not in its scope", c.set.name, scope, id)
		}
	}
	for _, removal := range answer.GetRemovals() {
		if id := removal.GetTaskId(); in(id) || !w.model.scopes[id][scope] {
			w.failf("leak", "%s of %s is told that %s has left, in scope now: %t, ever: %t", c.set.name, scope, id, in(id), w.model.scopes[id][scope])
		}
	}
	if before := w.model.heads[scope]; answer.GetHead() != nil && answer.GetHead().GetSequence() < before {
		w.failf("stale", "%s is sent the head %d of %s, which had come to %d", c.set.name, answer.GetHead().GetSequence(), scope, before)
	}
}

// seenVerdicts: a verdict that comes again is the same.
func (w *world) seenVerdicts(c call, device string, request *fieldsyncv1.SyncRequest, answer *fieldsyncv1.SyncResponse) {
	for i, verdict := range answer.GetVerdicts() {
		if i >= len(request.GetMutations()) {
			w.failf("verdict", "%s sent %d mutations and got %d verdicts", c.set.name, len(request.GetMutations()), len(answer.GetVerdicts()))
			return
		}
		m := request.GetMutations()[i]
		payload, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		key := fmt.Sprintf("%s/%d/%d/%x", device, request.GetInstallEpoch(), m.GetNumber(), sha256.Sum256(payload))
		said, _ := proto.MarshalOptions{Deterministic: true}.Marshal(verdict)
		if before, known := w.model.verdicts[key]; known && !bytes.Equal(before, said) {
			w.failf("verdict", "%s sent %d.%d again and was told\n%s, before\n%s", c.set.name, request.GetInstallEpoch(), m.GetNumber(), show(said), show(before))
		}
		w.model.verdicts[key] = said
	}
}

func show(verdict []byte) string {
	v := &fieldsyncv1.Verdict{}
	_ = proto.Unmarshal(verdict, v)
	return fmt.Sprintf("%d %s %s revision %d at %v", v.GetNumber(), v.GetKind(), v.GetCode(), v.GetTaskRevision(), v.GetJudgedAt().AsTime())
}

// bearer reads who calls off the access token, which the server has checked.
func bearer(c call) (device, member string) {
	parts := strings.Split(strings.TrimPrefix(c.header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		return "", ""
	}
	claims := struct {
		Device string `json:"dev"`
		Member string `json:"sub"`
	}{}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return "", ""
	}
	return claims.Device, claims.Member
}
