package dispatch

import (
	"bytes"
	"context"
	_ "embed" // For the seed.
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// maxCategories bounds all categories, so that they can be listed in one answer.
const maxCategories = 500

// seedCategories are the kinds of Ho Chi Minh City's hotline, as ReadCategories reads them.
//
//go:embed seed/categories.json
var seedCategories []byte

// ReadCategories reads a file of categories: one category as JSON, several one behind the other (JSON lines), or an array of them,
// in the form that ListCategories answers. Errors: Invalid "categories_malformed", with the number of the category that cannot be read.
func ReadCategories(text []byte) ([]*fieldsyncv1.Category, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	list, err := jsonValues(text)
	if err == nil && len(list) == 1 && list[0][0] == '[' {
		array := list[0]
		list = nil
		err = json.Unmarshal(array, &list)
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "categories_malformed",
			fmt.Sprintf("Không đọc được tệp loại việc, JSON sai: %v.", err), fmt.Sprintf("This is no file of categories, its JSON is wrong: %v.", err))
	}
	categories := make([]*fieldsyncv1.Category, len(list))
	for i, value := range list {
		categories[i] = &fieldsyncv1.Category{}
		if err := protojson.Unmarshal(value, categories[i]); err != nil {
			return nil, fault.New(fault.Invalid, "categories_malformed",
				fmt.Sprintf("Không đọc được loại việc thứ %d của tệp: %v.", i+1, err),
				fmt.Sprintf("Category %d of the file cannot be read: %v.", i+1, err))
		}
	}
	return categories, nil
}

// jsonValues are the values that stand one behind the other in a text.
func jsonValues(text []byte) (values []json.RawMessage, err error) {
	for decoder := json.NewDecoder(bytes.NewReader(text)); ; {
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			if errors.Is(err, io.EOF) && len(values) > 0 {
				return values, nil
			}
			return nil, err
		}
		values = append(values, value)
	}
}

// PutCategories creates categories or replaces them, all of the call or none. Errors: Denied "role_denied", Invalid
// "category_invalid", Exhausted "categories_full", "batch_too_large".
func (s *Service) PutCategories(ctx context.Context, request *fieldsyncv1.PutCategoriesRequest) (*fieldsyncv1.PutCategoriesResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	if p.Role != fieldsyncv1.Role_ROLE_ADMIN {
		return nil, roleDenied()
	}
	var response *fieldsyncv1.PutCategoriesResponse
	err = s.store.Update(ctx, func(tx *store.Tx) (err error) {
		response, err = putCategories(tx, request.GetCategories())
		return err
	})
	if errors.Is(err, store.ErrTooLarge) {
		return nil, fault.New(fault.Exhausted, "batch_too_large",
			"Các loại việc trong một lần gọi lớn quá 1 MiB: hãy chia nhỏ.", "The categories of one call are larger than 1 MiB: split them.")
	}
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "categories put", "created", response.GetCreated(), "changed", response.GetChanged(), "by", p.MemberID)
	return response, nil
}

func putCategories(tx *store.Tx, categories []*fieldsyncv1.Category) (*fieldsyncv1.PutCategoriesResponse, error) {
	response := &fieldsyncv1.PutCategoriesResponse{}
	seen := make(map[string]bool, len(categories))
	for _, category := range categories {
		if err := checkCategory(category); err != nil {
			return nil, err
		}
		if seen[category.GetId()] {
			return nil, categoryInvalid(category, "xuất hiện hai lần", "stands there twice")
		}
		seen[category.GetId()] = true
		before, err := store.Get(tx, store.CategoryKey(category.GetId()))
		switch {
		case err != nil:
			return nil, err
		case before == nil:
			response.Created++
		case proto.Equal(before, category):
			continue
		default:
			response.Changed++
		}
		if err := store.Put(tx, store.CategoryKey(category.GetId()), category); err != nil {
			return nil, err
		}
	}
	all, err := loadCategories(tx)
	if err == nil && len(all) > maxCategories {
		err = fault.New(fault.Exhausted, "categories_full",
			fmt.Sprintf("Nhiều nhất %d loại việc; không có gì được lưu.", maxCategories),
			fmt.Sprintf("There can be at most %d categories; nothing was stored.", maxCategories))
	}
	return response, err
}

// ListCategories lists all categories by id.
func (s *Service) ListCategories(ctx context.Context, _ *fieldsyncv1.ListCategoriesRequest) (*fieldsyncv1.ListCategoriesResponse, error) {
	if _, err := auth.PrincipalFrom(ctx); err != nil {
		return nil, err
	}
	response := &fieldsyncv1.ListCategoriesResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) (err error) {
		response.Categories, err = loadCategories(tx)
		return err
	})
}

func loadCategories(tx *store.Tx) (categories []*fieldsyncv1.Category, err error) {
	for category, err := range store.Scan(tx, store.Categories(), nil) {
		if err != nil {
			return nil, err
		}
		categories = append(categories, category)
	}
	return categories, nil
}

// Category returns what is known of a kind, nil where nothing is. The rooms that ask for closing rules and photo rules are
// given this function by whoever composes the server.
func Category(tx *store.Tx, id string) (*fieldsyncv1.Category, error) {
	return store.Get(tx, store.CategoryKey(id))
}

// checkCategory asks of a category what its proto's rules do not, so that the error can name it.
func checkCategory(c *fieldsyncv1.Category) error {
	for _, name := range []string{c.GetName().GetVi(), c.GetName().GetEn()} {
		if n := utf8.RuneCountInString(name); n < 1 || n > 200 {
			return categoryInvalid(c, "cần tên tiếng Việt và tiếng Anh, mỗi tên 1 đến 200 ký tự",
				"needs a name in Vietnamese and in English, 1 to 200 characters each")
		}
	}
	if len(c.GetOutcomes()) == 0 {
		return categoryInvalid(c, "không có kết quả nào (outcomes): công việc loại này không bao giờ xong được",
			"has no outcome (outcomes): a task of it could never end")
	}
	seen := make(map[any]bool)
	for _, outcome := range c.GetOutcomes() {
		if outcome == fieldsyncv1.Outcome_OUTCOME_UNSPECIFIED || seen[outcome] {
			return categoryInvalid(c, "có kết quả trống hoặc trùng", "has an outcome that is empty or stands there twice")
		}
		seen[outcome] = true
	}
	for _, item := range c.GetChecklist() {
		if seen[item.GetId()] {
			return categoryInvalid(c, "có hai mục kiểm tra cùng mã "+item.GetId(), "has two checklist items with the id "+item.GetId())
		}
		seen[item.GetId()] = true
	}
	type step struct {
		urgency fieldsyncv1.Urgency
		action  fieldsyncv1.EscalationAction
		seconds int64
	}
	for _, s := range c.GetEscalation() {
		key := step{s.GetUrgency(), s.GetAction(), s.GetAfter().GetSeconds()}
		if seen[key] {
			return categoryInvalid(c, "có hai bước leo thang giống nhau", "has the same escalation step twice")
		}
		seen[key] = true
	}
	return nil
}

func categoryInvalid(c *fieldsyncv1.Category, vi, en string) error {
	return fault.New(fault.Invalid, "category_invalid",
		fmt.Sprintf("Loại việc %q %s; không có gì được lưu.", c.GetId(), vi),
		fmt.Sprintf("The category %q %s; nothing was stored.", c.GetId(), en))
}

// Seed gives a store that has none the city's categories, and likewise the calendar of working days. It changes nothing in one
// that has some: what an admin has retired or renamed stays so.
func (s *Service) Seed(ctx context.Context) error {
	categories, err := ReadCategories(seedCategories)
	if err != nil {
		return err
	}
	var stored []*fieldsyncv1.Category
	var version uint32
	err = s.store.View(ctx, func(tx *store.Tx) (err error) {
		if stored, err = loadCategories(tx); err != nil {
			return err
		}
		version, err = newestCalendar(tx)
		return err
	})
	if err != nil || len(stored) > 0 && version > 0 {
		return err
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if len(stored) == 0 {
			if _, err := putCategories(tx, categories); err != nil {
				return err
			}
		}
		return seedCalendar(tx)
	})
}
