package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
	syncengine "github.com/cong1022/fieldsync/sync"
)

const (
	// crewsPerUnit is about what a ward has.
	crewsPerUnit = 10
	// seedChunk is how many tasks one transaction of the seeding writes, some 5 KB each: well below what one may hold.
	seedChunk = 100
	// enrolling is how many devices are enrolled beside each other.
	enrolling = 64
)

// plan says what is in a store before a measurement.
type plan struct {
	// crews have tasks each.
	crews, tasks int
	// The first manned crews have phones each.
	manned, phones int
	// changed is how many tasks of each manned crew change after the phones' last sync.
	changed int
}

// seat is a phone with what it knows after its last sync.
type seat struct {
	Member string     `json:"member"`
	Crew   string     `json:"crew"`
	Device string     `json:"device"`
	Token  string     `json:"token"`
	Epoch  uint32     `json:"epoch"`
	Cursor []byte     `json:"cursor,omitempty"`
	Held   []heldTask `json:"held,omitempty"`
}

// heldTask is what a thin client must know of a task in order to record something about it.
type heldTask struct {
	ID   string `json:"id"`
	Item string `json:"item"`
}

// fleet is who may call a seeded store.
type fleet struct {
	seats []seat
	// desk is a dispatcher of the whole city.
	desk seat
	// code enrols one more phone of the first crew.
	code string
	// taskBytes is the mean size of a task as phones get it.
	taskBytes float64
}

// openStore opens the store where a server over the folder will look for it.
func openStore(ctx context.Context, dir string) (*store.Store, error) {
	engine, err := embedded.Open(filepath.Join(dir, "store"), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, engine, store.Options{})
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return st, nil
}

// seed makes the folder what the plan says, as the rooms would have left it.
func (b *bench) seed(ctx context.Context, dir string, p plan) (*fleet, error) {
	b.out.progress("seeding")
	st, err := openStore(ctx, dir)
	if err != nil {
		return nil, err
	}
	f, err := fill(ctx, st, p, func(tasks int) {
		if tasks%10000 == 0 {
			b.out.progress(fmt.Sprintf("seeding, %d of %d tasks", tasks, p.crews*p.tasks))
		}
	})
	return f, errors.Join(err, st.Close())
}

// fill writes units, crews, tickets and tasks, enrols the phones by the auth room itself, lets each crew's phones read up to
// the head by the engine itself, and then changes what is to be changed.
func fill(ctx context.Context, st *store.Store, p plan, progress func(tasks int)) (*fleet, error) {
	f := &fleet{}
	held, err := fillTasks(ctx, st, p, f, progress)
	if err != nil {
		return nil, err
	}
	if err := f.enrol(ctx, st, p); err != nil {
		return nil, err
	}
	engine, err := syncengine.New(syncengine.Options{Store: st, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	for i := range f.seats {
		s := &f.seats[i]
		s.Held = held[s.Crew]
		if i > 0 && f.seats[i-1].Crew == s.Crew {
			s.Cursor = f.seats[i-1].Cursor // A cursor is a scope's, not a device's.
		} else if s.Cursor, err = readUp(ctx, engine, s); err != nil {
			return nil, err
		}
	}
	for crew := range p.manned {
		if err := startTasks(ctx, st, held[crewID(crew)][:p.changed]); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func crewID(i int) string { return fmt.Sprintf("to-%05d", i) }

func unitOf(crew int) string { return fmt.Sprintf("phuong-%03d", crew/crewsPerUnit) }

// fillTasks returns what the manned crews hold.
func fillTasks(ctx context.Context, st *store.Store, p plan, f *fleet, progress func(int)) (map[string][]heldTask, error) {
	err := st.Update(ctx, func(tx *store.Tx) (err error) {
		for crew := 0; crew < p.crews; crew += crewsPerUnit { // All of them: the city's board shows what its units have.
			err = errors.Join(err, store.Put(tx, store.UnitKey(unitOf(crew)), &fieldsyncv1.Unit{Id: unitOf(crew), Name: "Phường " + unitOf(crew)}))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	held := make(map[string][]heldTask)
	reports := newWriter(st.Now())
	total, size := p.crews*p.tasks, 0
	for done := 0; done < total; done += seedChunk {
		var chunk []*fieldsyncv1.Task
		for i := done; i < min(total, done+seedChunk); i++ {
			// Round by round through the crews, as reports come in: a crew's tasks lie apart on the disk.
			chunk = append(chunk, reports.task(unitOf(i%p.crews), crewID(i%p.crews)))
		}
		err := st.Update(ctx, func(tx *store.Tx) error {
			for _, task := range chunk {
				if err := putTask(tx, task); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for i, task := range chunk {
			size += proto.Size(task)
			if (done+i)%p.crews < p.manned {
				crew := task.GetAssignment().GetCrewId()
				held[crew] = append(held[crew], heldTask{task.GetId(), firstItem(task.GetTicket().GetCategory())})
			}
		}
		progress(done + len(chunk))
	}
	f.taskBytes = float64(size) / float64(total)
	return held, nil
}

// putTask writes the records of a ticket that was handed over, became a task, and was assigned.
func putTask(tx *store.Tx, task *fieldsyncv1.Task) error {
	ticket := task.GetTicket()
	stub := &storagev1.Ticket{Id: ticket.GetTicketId()}
	record := &storagev1.TaskRecord{
		Task:   task,
		Scopes: []string{string(store.CrewScope(task.GetAssignment().GetCrewId())), string(store.UnitScope(ticket.GetUnitId()))},
		Tenures: []*storagev1.Tenure{{
			CrewId: task.GetAssignment().GetCrewId(), AssignmentEpoch: 1, From: task.GetAssignment().GetAssignedAt(),
		}},
	}
	return errors.Join(
		store.Put(tx, store.TicketKey(ticket.GetTicketId()), &storagev1.Ticket{
			Id: ticket.GetTicketId(), Facts: ticket, TaskId: task.GetId(), ReceivedAt: ticket.GetReportedAt(),
		}),
		store.Put(tx, store.TicketByHotlineKey(ticket.GetHotlineId()), stub),
		store.Put(tx, store.UnitTicketKey(ticket.GetUnitId(), ticket.GetTicketId()), stub),
		store.Put(tx, store.UnitTaskKey(ticket.GetUnitId(), task.GetId()),
			&storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: task.GetId()}}),
		store.SaveTask(tx, record, 0),
	)
}

// startTasks changes one facet of each task: its status.
func startTasks(ctx context.Context, st *store.Store, tasks []heldTask) error {
	return st.Update(ctx, func(tx *store.Tx) error {
		for _, held := range tasks {
			record, err := store.Get(tx, store.TaskKey(held.ID))
			if err != nil {
				return err
			}
			record.Task.Status = &fieldsyncv1.StatusFacet{
				Revision: store.NextRevision(record), State: fieldsyncv1.TaskState_TASK_STATE_STARTED,
				Since: timestamppb.New(tx.Now().Truncate(time.Second)), ByMemberId: memberID(record.GetTask().GetAssignment().GetCrewId(), 0),
			}
			if err := store.SaveTask(tx, record, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

func memberID(crew string, i int) string { return fmt.Sprintf("%s-%d", crew, i) }

// deskMember is the dispatcher's.
const deskMember = "dieu-phoi"

// enrol makes members, and a device for each of them as the phone and the auth room make it: a key of its own, a one-time
// code, a proof. The tokens are those that real phones would have.
func (f *fleet) enrol(ctx context.Context, st *store.Store, p plan) error {
	config, err := serverConfig("")
	if err != nil {
		return err
	}
	service, err := auth.Open(ctx, st, auth.Options{
		Issuer: config.Issuer, AccessTTL: config.Tokens.AccessTTL, CodeTTL: config.Tokens.CodeTTL, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	for crew := range p.manned {
		err := st.Update(ctx, func(tx *store.Tx) error {
			return putCrew(tx, crewID(crew), unitOf(crew), p.phones)
		})
		if err != nil {
			return err
		}
		for i := range p.phones {
			f.seats = append(f.seats, seat{Member: memberID(crewID(crew), i), Crew: crewID(crew)})
		}
	}
	err = st.Update(ctx, func(tx *store.Tx) error {
		return store.Put(tx, store.MemberKey(deskMember), &fieldsyncv1.Member{
			Id: deskMember, Name: "Điều phối", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitId: auth.CityUnit,
		})
	})
	if err != nil {
		return err
	}
	f.desk = seat{Member: deskMember}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(enrolling)
	for i := range f.seats {
		group.Go(func() error { return f.seats[i].enrol(ctx, service) })
	}
	group.Go(func() error { return f.desk.enrol(ctx, service) })
	if err := group.Wait(); err != nil || len(f.seats) == 0 {
		return err
	}
	f.code, _, err = service.IssueCodeFor(context.WithoutCancel(ctx), f.seats[0].Member, "")
	return err
}

func putCrew(tx *store.Tx, crew, unit string, members int) error {
	err := store.Put(tx, store.CrewKey(crew), &fieldsyncv1.Crew{Id: crew, UnitId: unit, Name: "Tổ " + crew})
	for i := range members {
		id := memberID(crew, i)
		err = errors.Join(err,
			store.Put(tx, store.MemberKey(id), &fieldsyncv1.Member{
				Id: id, Name: "Nhân viên " + id, Role: fieldsyncv1.Role_ROLE_CREW, CrewId: crew,
			}),
			store.Put(tx, store.CrewMemberKey(crew, id), &fieldsyncv1.Member{Id: id}))
	}
	return err
}

// enrol gives the seat a device and a token.
func (s *seat) enrol(ctx context.Context, service *auth.Service) error {
	code, _, err := service.IssueCodeFor(ctx, s.Member, "")
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	thumbprint := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, b64(point[1:33]), b64(point[33:])))
	proof, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": b64(thumbprint[:]), "aud": "fieldsync:enrol", "iat": time.Now().Unix(), "jti": rand.Text(),
	}).SignedString(key)
	if err != nil {
		return err
	}
	answer, err := service.Enrol(ctx, &fieldsyncv1.EnrolRequest{Code: code, PublicKey: spki, Proof: proof, DeviceName: s.Member})
	if err != nil {
		return err
	}
	s.Device, s.Token, s.Epoch = answer.GetDeviceId(), answer.GetAccessToken(), answer.GetInstallEpoch()
	return nil
}

// as is a context in which the seat calls a room directly.
func (s *seat) as(ctx context.Context) context.Context {
	return auth.WithPrincipal(ctx, auth.Principal{
		DeviceID: s.Device, MemberID: s.Member, Role: fieldsyncv1.Role_ROLE_CREW, CrewID: s.Crew,
	})
}

// readUp returns the cursor of a phone that has read everything.
func readUp(ctx context.Context, engine *syncengine.Engine, s *seat) ([]byte, error) {
	var cursor []byte
	for {
		answer, err := engine.Sync(s.as(ctx), &fieldsyncv1.SyncRequest{Cursor: cursor, BudgetBytes: maxBudget})
		if err != nil {
			return nil, err
		}
		if cursor = answer.GetCursor(); !answer.GetMore() {
			return cursor, nil
		}
	}
}
