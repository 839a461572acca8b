package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/peterstace/simplefeatures/geom"
	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	"github.com/cong1022/fieldsync/dispatch/rows"
	"github.com/cong1022/fieldsync/dispatch/territory"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

const (
	// maxAreaBytes bounds one feature: an import writes as many as one transaction holds.
	maxAreaBytes = 500_000
	// importBytes ends a transaction of an import.
	importBytes = store.MaxTransactionBytes / 4
	// successionsAtOnce are the rows of one record.
	successionsAtOnce = 1000
)

// territories is the territory that was read last. Safe for concurrent use.
type territories struct {
	mu    sync.Mutex
	areas uint64
	names uint64
	index *territory.Index
	rows  []territory.Succession
}

// load returns what is in force, without areas that cannot be read. Names are made anew for each call, since units are renamed without a new version.
func (t *territories) load(tx *store.Tx, log *slog.Logger) (*territory.Index, []territory.Succession, error) {
	head, err := store.Get(tx, store.TerritoryHeadKey())
	if err != nil {
		return nil, nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.index == nil || t.areas != head.GetAreas() {
		var areas []territory.Area
		for stored, err := range store.Scan(tx, store.Areas(head.GetAreas()), nil) {
			if err != nil {
				return nil, nil, err
			}
			shape, err := geom.UnmarshalWKB(stored.GetWkb(), geom.NoValidate{}) // It was valid when it was stored.
			if err != nil {
				// Tickets come in all the same; those of its places wait for a hand to route them.
				log.Error("an area is damaged and left out: import the areas again", "unit", stored.GetUnitId(), "error", err)
				continue
			}
			areas = append(areas, territory.Area{Unit: stored.GetUnitId(), Shape: shape})
		}
		t.index, t.areas = territory.NewIndex(areas), head.GetAreas()
	}
	if t.rows == nil || t.names != head.GetNames() {
		list := []territory.Succession{}
		for part, err := range store.Scan(tx, store.Successions(head.GetNames()), nil) {
			if err != nil {
				return nil, nil, err
			}
			for _, row := range part.GetRows() {
				list = append(list, territory.Succession{District: row.GetDistrict(), Ward: row.GetWard(), Unit: row.GetUnitId()})
			}
		}
		t.rows, t.names = list, head.GetNames()
	}
	return t.index, t.rows, nil
}

// PutAreas puts the areas of all units. Errors: Denied "role_denied", Invalid "rows_invalid".
func (s *Service) PutAreas(ctx context.Context, request *fieldsyncv1.PutAreasRequest) (*fieldsyncv1.PutAreasResponse, error) {
	p, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	areas, err := territory.ReadAreas(request.GetGeojson())
	if err != nil {
		return nil, err
	}
	units, err := s.units(ctx)
	if err != nil {
		return nil, err
	}
	var bad rows.Errors
	stored := make([]*storagev1.StoredArea, 0, len(areas))
	for _, area := range areas {
		if units[area.Unit] == nil {
			bad.Add(area.Feature, "không có đơn vị "+area.Unit, "there is no unit "+area.Unit)
		}
		wkb := area.Shape.AsBinary()
		if len(wkb) > maxAreaBytes {
			bad.Add(area.Feature, fmt.Sprintf("%s lớn quá %d byte: hãy đơn giản hóa", area.Unit, maxAreaBytes), fmt.Sprintf("%s has more than %d bytes: simplify it", area.Unit, maxAreaBytes))
		}
		stored = append(stored, &storagev1.StoredArea{UnitId: area.Unit, Wkb: wkb})
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	if err := territory.Overlaps(areas, func(a, b string) bool { return together(units[a], units[b]) }); err != nil {
		return nil, err
	}
	err = putVersion(ctx, s.store, stored, func(h *storagev1.TerritoryHead) *uint64 { return &h.Areas }, store.AreaKey,
		func(a *storagev1.StoredArea) int { return len(a.GetWkb()) + 256 })
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "areas put", "areas", len(areas), "by", p.MemberID)
	return &fieldsyncv1.PutAreasResponse{Areas: uint32(len(areas))}, nil //nolint:gosec // Bounded by the request.
}

// PutSuccessions puts what became of the districts and wards of before. Errors as PutAreas.
func (s *Service) PutSuccessions(ctx context.Context, request *fieldsyncv1.PutSuccessionsRequest) (*fieldsyncv1.PutSuccessionsResponse, error) {
	p, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	list, err := territory.ReadSuccessions(request.GetCsv())
	if err != nil {
		return nil, err
	}
	units, err := s.units(ctx)
	if err != nil {
		return nil, err
	}
	var bad rows.Errors
	var parts []*storagev1.StoredSuccessions
	for i, row := range list {
		if units[row.Unit] == nil {
			bad.Add(row.Line, "không có đơn vị "+row.Unit, "there is no unit "+row.Unit)
		}
		if i%successionsAtOnce == 0 {
			parts = append(parts, &storagev1.StoredSuccessions{})
		}
		last := parts[len(parts)-1]
		last.Rows = append(last.Rows, &storagev1.StoredSuccession{District: row.District, Ward: row.Ward, UnitId: row.Unit})
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	err = putVersion(ctx, s.store, parts, func(h *storagev1.TerritoryHead) *uint64 { return &h.Names }, store.SuccessionsKey,
		func(*storagev1.StoredSuccessions) int { return importBytes })
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "successions put", "places", len(list), "by", p.MemberID)
	return &fieldsyncv1.PutSuccessionsResponse{Places: uint32(len(list))}, nil //nolint:gosec // Bounded by the request.
}

// putVersion writes the records of an import under a version of its own, in as many transactions as it takes, and puts that version
// into force in the last one: until then everybody reads the old one, whatever crashes. The old one is removed after that.
func putVersion[T any, M interface {
	*T
	proto.Message
}](ctx context.Context, st *store.Store, records []M, inForce func(*storagev1.TerritoryHead) *uint64, key func(version, number uint64) store.Key[T], size func(M) int) error {
	change := func(f func(head *storagev1.TerritoryHead)) error {
		return st.Update(ctx, func(tx *store.Tx) error {
			head, err := store.Get(tx, store.TerritoryHeadKey())
			if err != nil {
				return err
			}
			if head == nil {
				head = &storagev1.TerritoryHead{}
			}
			f(head)
			return store.Put(tx, store.TerritoryHeadKey(), head)
		})
	}
	var version, old uint64
	if err := change(func(head *storagev1.TerritoryHead) { head.Newest++; version = head.GetNewest() }); err != nil {
		return err
	}
	for from := 0; from < len(records); {
		until := from
		err := st.Update(ctx, func(tx *store.Tx) error {
			until = from
			for sum := 0; until < len(records) && (sum == 0 || sum+size(records[until]) <= importBytes); until++ {
				sum += size(records[until])
				if err := store.Put[T, M](tx, key(version, uint64(until)), records[until]); err != nil { //nolint:gosec // An index.
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		from = until
	}
	if err := change(func(head *storagev1.TerritoryHead) { old, *inForce(head) = *inForce(head), version }); err != nil {
		return err
	}
	for number, more := uint64(0), old > 0; more; number += successionsAtOnce {
		err := st.Update(ctx, func(tx *store.Tx) error {
			for n := number; n < number+successionsAtOnce; n++ {
				record, err := store.Get[T, M](tx, key(old, n))
				if more = err == nil && record != nil; !more {
					return err
				}
				if err := store.Delete(tx, key(old, n)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// units are all units by their ids, and the city's, which needs no record.
func (s *Service) units(ctx context.Context) (units map[string]*fieldsyncv1.Unit, err error) {
	return units, s.store.View(ctx, func(tx *store.Tx) error {
		units, err = loadUnits(tx)
		return err
	})
}

func loadUnits(tx *store.Tx) (map[string]*fieldsyncv1.Unit, error) {
	units := map[string]*fieldsyncv1.Unit{auth.CityUnit: {Id: auth.CityUnit}}
	for unit, err := range store.Scan(tx, store.Units(), nil) {
		if err != nil {
			return nil, err
		}
		units[unit.GetId()] = unit
	}
	return units, nil
}
