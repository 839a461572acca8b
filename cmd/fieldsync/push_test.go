package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/push/fcmtest"
)

// Protects the way of a push through the whole server, and the citizens' data on it: an assignment wakes the crew's registered
// device, and nobody else's, with one message that says no more than that there is a task.
func TestAssignmentReachesFCM(t *testing.T) {
	fcm := fcmtest.Start(t)
	dir := t.TempDir()
	credentials, config := filepath.Join(dir, "service-account.json"), filepath.Join(dir, "city.yaml")
	check(t, os.WriteFile(credentials, fcm.CredentialsJSON(), 0o600))
	check(t, os.WriteFile(config, []byte("push:\n  fcm_credentials_file: "+credentials+"\n  fcm_endpoint: "+fcm.Endpoint()+"\n"), 0o600))
	h := newHouse(t, "--config", config, "--listen", "127.0.0.1:0")
	for _, device := range []struct {
		member, crew string
		kind         fieldsyncv1.PushKind
	}{
		{"an", crewOne, fieldsyncv1.PushKind_PUSH_KIND_FCM_TOKEN},
		{"binh", crewTwo, fieldsyncv1.PushKind_PUSH_KIND_FCM_FID},
	} {
		_, err := h.identity(h.enrolCrew(device.member, device.crew)).RegisterPush(t.Context(),
			&fieldsyncv1.RegisterPushRequest{Kind: device.kind, Value: "address-of-" + device.member})
		check(t, err)
	}
	h.enrolCrew("em", crewOne) // Has registered nothing.

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticket := func(id string) *fieldsyncv1.TicketIntake {
		return &fieldsyncv1.TicketIntake{
			HotlineId: id, Category: "fallen-tree", Title: "Cây me ngã", Description: "Ngã ngang đường", Address: "Đường Tôn Đức Thắng",
			Reporter: &fieldsyncv1.Reporter{Name: "Phạm Thị Dung", Phone: "0900000001"},
		}
	}
	ids := []string{h.newTask(ctx, ticket("1022-2026-1"), crewOne)}
	_, err := fcm.Await(ctx, 1)
	check(t, err)
	// The second one, in its turn, also shows that the first has brought no more than one message.
	ids = append(ids, h.newTask(ctx, ticket("1022-2026-2"), crewTwo))
	_, err = fcm.Await(ctx, 2)
	check(t, err)
	check(t, h.server.interrupt()) // What is under way is sent before the server ends.
	messages := fcm.Messages()
	if len(messages) != 2 || fcm.Attempts() != 2 {
		t.Fatalf("%d messages in %d attempts, want one for each assignment", len(messages), fcm.Attempts())
	}
	if messages[0].Token != "address-of-an" || messages[1].FID != "address-of-binh" {
		t.Errorf("the messages went to %q and %q", messages[0].Address(), messages[1].Address())
	}
	for _, m := range messages {
		if len(m.Data) != 1 || m.Data["hint"] != "sync" || m.Title != "Có công việc mới · New task" || m.Priority != "high" || m.CollapseKey != "task" {
			t.Errorf("the message is %s", m.Body)
		}
		for _, secret := range append(ids, "1022-2026", "Cây me", "Ngã ngang", "Tôn Đức Thắng", "Dung", "0900000001", "Nguyễn", "cưa máy", crewOne, crewTwo) {
			if strings.Contains(string(m.Body), secret) {
				t.Errorf("the message tells Google %q: %s", secret, m.Body)
			}
		}
	}
	log, _ := h.server.log.look()
	for _, secret := range []string{"address-of-", "Phạm Thị Dung", "0900000001", "Nguyễn"} {
		if strings.Contains(log, secret) {
			t.Errorf("the server's log holds %q:\n%s", secret, log)
		}
	}
}
