package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// calendars are the versions that were read before: a version never changes. Safe for concurrent use.
type calendars struct{ byVersion sync.Map }

// load returns a version of the calendar. One that is not stored is an error of the server's own.
func (c *calendars) load(tx *store.Tx, version uint32) (*calendar.Calendar, error) {
	if known, ok := c.byVersion.Load(version); ok {
		if made, ok := known.(*calendar.Calendar); ok {
			return made, nil
		}
	}
	stored, err := store.Get(tx, store.CalendarKey(version))
	if err != nil {
		return nil, err
	}
	if stored == nil && version > 0 {
		return nil, fmt.Errorf("the calendar has no version %d", version)
	}
	made, err := calendar.New(rowsOf(stored.GetRows()))
	if err != nil {
		return nil, fmt.Errorf("the calendar's version %d: %w", version, err)
	}
	if version > 0 { // Version 0 stands for none: the weekdays alone.
		c.byVersion.Store(version, made)
	}
	return made, nil
}

func newestCalendar(tx *store.Tx) (uint32, error) {
	head, err := store.Get(tx, store.CalendarHeadKey())
	return uint32(head.GetSequence()), err //nolint:gosec // Nobody puts four billion calendars.
}

// PutCalendar puts rows of whole years into a new version. Errors: Denied "role_denied", Invalid "rows_invalid", Exhausted
// "calendar_full".
func (s *Service) PutCalendar(ctx context.Context, request *fieldsyncv1.PutCalendarRequest) (*fieldsyncv1.PutCalendarResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	if p.Role != fieldsyncv1.Role_ROLE_ADMIN {
		return nil, roleDenied()
	}
	if _, err := calendar.Check(rowsOf(request.GetRows())); err != nil {
		return nil, err
	}
	response := &fieldsyncv1.PutCalendarResponse{}
	err = s.store.Update(ctx, func(tx *store.Tx) (err error) {
		response.Version, response.Rows, err = putCalendar(tx, request.GetRows(), p.MemberID)
		return err
	})
	if errors.Is(err, store.ErrTooLarge) {
		return nil, fault.New(fault.Exhausted, "calendar_full",
			"Lịch vượt quá 1 MiB; không có gì được lưu.", "The calendar would be larger than 1 MiB; nothing was stored.")
	}
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "calendar put", "version", response.GetVersion(), "rows", response.GetRows(), "by", p.MemberID)
	return response, nil
}

func putCalendar(tx *store.Tx, rows []*fieldsyncv1.CalendarRow, member string) (version, count uint32, err error) {
	version, err = newestCalendar(tx)
	if err != nil {
		return 0, 0, err
	}
	newest, err := store.Get(tx, store.CalendarKey(version))
	if err != nil {
		return 0, 0, err
	}
	years := map[string]bool{}
	for _, row := range rows {
		years[row.GetDate()[:4]] = true
	}
	all := slices.Clone(rows)
	for _, row := range newest.GetRows() {
		if !years[row.GetDate()[:4]] {
			all = append(all, row)
		}
	}
	slices.SortFunc(all, func(a, b *fieldsyncv1.CalendarRow) int { return cmp.Compare(a.GetDate(), b.GetDate()) })
	if slices.EqualFunc(all, newest.GetRows(), func(a, b *fieldsyncv1.CalendarRow) bool { return proto.Equal(a, b) }) {
		return version, uint32(len(all)), nil //nolint:gosec // Bounded by the store's transaction.
	}
	version++
	if err := store.Put(tx, store.CalendarKey(version), &storagev1.CalendarVersion{
		Version: version, Rows: all, PutAt: tx.Timestamp(), ByMemberId: member,
	}); err != nil {
		return 0, 0, err
	}
	return version, uint32(len(all)), store.Put(tx, store.CalendarHeadKey(), &storagev1.SequenceHead{Sequence: uint64(version)}) //nolint:gosec // As above.
}

// GetCalendar returns a version of the calendar. Errors: NotFound "calendar_unknown".
func (s *Service) GetCalendar(ctx context.Context, request *fieldsyncv1.GetCalendarRequest) (*fieldsyncv1.GetCalendarResponse, error) {
	if _, err := dispatcher(ctx); err != nil {
		return nil, err
	}
	response := &fieldsyncv1.GetCalendarResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		version := request.GetVersion()
		if version == 0 {
			newest, err := newestCalendar(tx)
			if err != nil {
				return err
			}
			version = newest
		}
		stored, err := store.Get(tx, store.CalendarKey(version))
		if err != nil {
			return err
		}
		if stored == nil {
			return fault.New(fault.NotFound, "calendar_unknown", "Không có phiên bản lịch này.", "There is no such version of the calendar.")
		}
		response.Version, response.Rows, response.PutAt, response.ByMemberId = stored.GetVersion(), stored.GetRows(), stored.GetPutAt(), stored.GetByMemberId()
		return nil
	})
}

// seedCalendar gives a store that has no calendar the one in the binary.
func seedCalendar(tx *store.Tx) error {
	version, err := newestCalendar(tx)
	if err != nil || version > 0 {
		return err
	}
	list, err := calendar.Vietnam()
	if err != nil {
		return err
	}
	_, _, err = putCalendar(tx, CalendarRows(list), "")
	return err
}

// CalendarRows are rows as the API has them.
func CalendarRows(list []calendar.Row) (shown []*fieldsyncv1.CalendarRow) {
	for _, row := range list {
		shown = append(shown, &fieldsyncv1.CalendarRow{
			Date: row.Day.String(), Kind: fieldsyncv1.DayKind(row.Kind), Name: &fieldsyncv1.Sentence{Vi: row.Vi, En: row.En}, Source: row.Source, //nolint:gosec // One of three.
		})
	}
	return shown
}

// WriteCalendar writes rows as the CSV that calendar.Read reads.
func WriteCalendar(shown []*fieldsyncv1.CalendarRow) (string, error) {
	return calendar.Write(rowsOf(shown))
}

func rowsOf(shown []*fieldsyncv1.CalendarRow) (list []calendar.Row) {
	for _, row := range shown {
		day, err := calendar.ParseDay(row.GetDate())
		if err != nil {
			day = calendar.Day{} // Which Check refuses.
		}
		list = append(list, calendar.Row{
			Day: day, Kind: calendar.Kind(row.GetKind()), Vi: row.GetName().GetVi(), En: row.GetName().GetEn(), Source: row.GetSource(),
		})
	}
	return list
}
