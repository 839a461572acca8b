package server

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cong1022/fieldsync/internal/fault"
)

// idRule is the pattern of the house's ids, which most broken rules of the kind are.
const idRule = "^[a-z0-9][a-z0-9._-]{0,63}$"

// betweenRule reads the two bounds out of the words of a rule that has both; a violation names only one of them as its value.
var betweenRule = regexp.MustCompile(`greater than or equal to (\S+) and less than or equal to (\S+)$`)

// rulesVi says the standard rules in Vietnamese, by the last part of a rule's id; %s stands for the rule's own value.
var rulesVi = map[string]string{
	"required":     "bắt buộc phải có",
	"pattern":      "không đúng dạng `%s`",
	"min_len":      "phải có ít nhất %s ký tự",
	"max_len":      "không được quá %s ký tự",
	"len":          "phải dài đúng %s",
	"max_bytes":    "không được quá %s byte",
	"min_items":    "phải có ít nhất %s mục",
	"max_items":    "không được quá %s mục",
	"unique":       "không được có mục trùng nhau",
	"gte":          "phải từ %s trở lên",
	"lte":          "không được quá %s",
	"finite":       "phải là một số hữu hạn",
	"in":           "không thuộc các giá trị được phép",
	"not_in":       "phải được chọn trong các giá trị được phép",
	"defined_only": "không phải là giá trị mà máy chủ biết",
	"uri":          "phải là một địa chỉ (URI)",
	"prefix":       "phải bắt đầu bằng `%s`",
}

// customVi says the rules that the proto has in words of its own, by their ids.
var customVi = map[string]string{
	"member.crew":                     "người của tổ (crew, crew lead) phải có crew_id, người khác thì không",
	"member.unit":                     "điều phối viên và lãnh đạo đơn vị phải có unit_id, người khác thì không",
	"label.length":                    "nhãn phải có 1 đến 200 ký tự trong mỗi ngôn ngữ",
	"acknowledge.changes.one_way":     "chỉ ghi sequences hoặc cursor, không ghi cả hai",
	"acknowledge.completions.one_way": "chỉ ghi completion_ids và claim_ids, hoặc cursor, không ghi cả hai",
	"push.address":                    "trình duyệt ghi web_push, địa chỉ khác ghi value",
	"sync.mutations.max":              "mỗi lần gọi có tối đa 200 thay đổi (mutations)",
	"complete.claim_signature":        "chữ ký phải dài 64 byte, hoặc không có",
}

// requestInvalid says which fields of a request break which rules. The English is protovalidate's own.
func requestInvalid(err *connect.Error) *fault.Error {
	vi := err.Message() // Stays where it is no rule of the proto that is broken.
	if invalid, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
		said := make([]string, 0, len(invalid.Violations))
		for _, v := range invalid.Violations {
			line := ruleVi(v)
			if path := protovalidate.FieldPathString(v.Proto.GetField()); path != "" {
				line = path + ": " + line
			}
			said = append(said, line)
		}
		vi = strings.Join(said, "; ")
	}
	return fault.New(fault.Invalid, "request_invalid", "Yêu cầu không hợp lệ: "+vi+".", "The request breaks its rules: "+err.Message())
}

func ruleVi(v *protovalidate.Violation) string {
	id := v.Proto.GetRuleId()
	if words, ok := customVi[id]; ok {
		return words
	}
	value := ""
	if v.RuleDescriptor != nil && v.RuleDescriptor.Kind() != protoreflect.MessageKind && !v.RuleDescriptor.IsList() {
		value = v.RuleValue.String()
	}
	if bounds := betweenRule.FindStringSubmatch(v.Proto.GetMessage()); bounds != nil {
		return fmt.Sprintf("phải từ %s đến %s", bounds[1], bounds[2])
	}
	rule := id[strings.LastIndexByte(id, '.')+1:]
	words, ok := rulesVi[rule]
	switch {
	case rule == "pattern" && value == idRule:
		return "phải là một mã: chữ thường không dấu, chữ số, dấu chấm, gạch dưới hay gạch nối, bắt đầu bằng chữ hoặc số, tối đa 64 ký tự"
	case ok && strings.Contains(words, "%s") && value != "":
		return fmt.Sprintf(words, value)
	case ok && !strings.Contains(words, "%s"):
		return words
	}
	return "không hợp lệ (" + v.Proto.GetMessage() + ")"
}
