package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store/memory"
)

// cities are settled worlds from which runs begin: what is the same in all of them is made once. Safe for concurrent use.
type cities struct {
	// dir is where phones and photos lie.
	dir string

	mu   sync.Mutex
	made map[int]*world
}

func newCities(dir string) *cities { return &cities{dir: dir, made: make(map[int]*world)} }

// close removes what they hold.
func (c *cities) close() error {
	var err error
	for _, w := range c.made {
		err = w.close()
	}
	return err
}

// settled returns a world with so many crews' phones, from which others are copied. Its phones are closed.
func (c *cities) settled(ctx context.Context, crewPhones int) (*world, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.made[crewPhones]; w != nil {
		return w, nil
	}
	w, err := newWorld(ctx, c.dir, uint64(crewPhones)) //nolint:gosec // Small.
	if err != nil {
		return nil, err
	}
	w.house = newHouse(w, mutant{}, &memoryDisk{disk: new(memory.Disk)})
	if err := w.settle(crewPhones); err != nil {
		return nil, fmt.Errorf("settling: %w", err)
	}
	if w.bad != nil {
		return nil, fmt.Errorf("settling: %s: %s", w.bad.rule, w.bad.detail)
	}
	for _, h := range w.sets {
		if err := h.phone.Close(); err != nil {
			return nil, err
		}
		h.phone = nil
	}
	c.made[crewPhones] = w
	return w, nil
}

// world returns a new one for the setting: two to four crews' phones, and the server running.
func (c *cities) world(ctx context.Context, s setting) (*world, error) {
	from, err := c.settled(ctx, 2+int(s.seed%3))
	if err != nil {
		return nil, err
	}
	w, err := newWorld(ctx, c.dir, s.seed)
	if err != nil {
		return nil, err
	}
	w.now, w.texts, w.tickets = from.now, from.texts, from.tickets
	for _, h := range from.sets {
		mine := w.newHandset(h.name, h.member, h.role)
		mine.booted, mine.enrolled, mine.told = h.booted, h.enrolled, h.told
		if err := copyTree(h.dir, mine.dir); err != nil {
			return nil, err
		}
		if err := mine.open(); err != nil {
			return nil, err
		}
	}
	begin := from.house.disk.backup()
	if s.badger {
		w.house = newHouse(w, s.mutant, &badgerDisk{dir: filepath.Join(w.dir, "store")})
	} else {
		w.house = newHouse(w, s.mutant, &memoryDisk{})
	}
	if err := w.house.disk.revert(begin); err != nil {
		return nil, err
	}
	if err := w.house.start(); err != nil {
		return nil, err
	}
	w.opened()
	return w, nil
}

// settle founds the city: two wards with a crew each, their people, and some work to begin with.
func (w *world) settle(crewPhones int) error {
	if err := w.house.start(); err != nil {
		return err
	}
	w.opened()
	w.newHandset("admin", "", fieldsyncv1.Role_ROLE_ADMIN)
	w.newHandset("desk", "d-city", fieldsyncv1.Role_ROLE_DISPATCHER)
	w.newHandset("ward", "d-q1", fieldsyncv1.Role_ROLE_DISPATCHER)
	w.newHandset("hotline", "tong-dai", fieldsyncv1.Role_ROLE_HOTLINE)
	for i := range crewPhones {
		w.newHandset(fmt.Sprintf("phone-%d", i), fmt.Sprintf("m-%d", i), fieldsyncv1.Role_ROLE_CREW)
	}
	admin := w.sets[0]
	if err := admin.open(); err != nil {
		return err
	}
	code, _, err := w.house.rooms.AdminCode(w.ctx)
	if err != nil {
		return err
	}
	if err := admin.phone.Enrol(w.ctx, origin, code, admin.name); err != nil {
		return err
	}
	admin.enrolled, admin.member = true, admin.status().MemberID
	desk := fieldsyncv1connect.NewDispatchServiceClient(admin.phone.Client(), origin)
	for i, unit := range units[1:] {
		_, err := desk.PutUnit(w.ctx, &fieldsyncv1.PutUnitRequest{Unit: &fieldsyncv1.Unit{Id: unit, Name: unit}})
		if err != nil {
			return err
		}
		_, err = desk.PutCrew(w.ctx, &fieldsyncv1.PutCrewRequest{Crew: &fieldsyncv1.Crew{Id: crews[i], UnitId: unit, Name: crews[i]}})
		if err != nil {
			return err
		}
	}
	for i, h := range w.sets[1:] {
		m := &fieldsyncv1.Member{Id: h.member, Name: h.name, Role: h.role}
		switch h.name {
		case "desk":
			m.UnitId = units[0]
		case "ward":
			m.UnitId = units[1]
		case "hotline":
		default:
			m.CrewId = crews[i%2]
		}
		if _, err := desk.PutMember(w.ctx, &fieldsyncv1.PutMemberRequest{Member: m}); err != nil {
			return err
		}
		if err := h.open(); err != nil {
			return err
		}
		if err := h.enrol(); err != nil {
			return err
		}
	}
	for i := range 3 {
		for _, a := range []action{{op: opTicket, how: i}, {op: opCreate, what: i}, {op: opAssign, what: i, how: i}} {
			w.perform(&a)
		}
	}
	for _, h := range w.crewSets() {
		if _, err := h.sync(); err != nil {
			return err
		}
	}
	w.check()
	return nil
}
