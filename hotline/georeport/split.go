package georeport

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// splitter cuts the elements out of a JSON array without understanding them, so that one which is no JSON harms no other. It
// follows strings and the depth of brackets. JSON allows no line break in a string: where one comes before the closing
// quote, a quote is missing, and what follows the opening one is read again as if it were outside of a string.
type splitter struct {
	r     *bufio.Reader
	again []byte // To be read before what r has.
	line  int    // Of the byte that comes next.
	rows  int
	done  bool // The array has ended.
}

// row is an element of the array.
type row struct {
	line int
	text []byte
	// long: it is longer than MaxRowBytes, and text is empty.
	long bool
}

// fileError is what makes the rest of a file unreadable.
type fileError struct {
	line   int
	vi, en string
}

func (e *fileError) Error() string { return e.en }

// begin reads up to the first element.
func (s *splitter) begin() error {
	if mark, err := s.r.Peek(3); err == nil && string(mark) == "\xef\xbb\xbf" {
		_, _ = s.r.Discard(3) // A byte order mark, which some tools write. It was peeked: it is there.
	}
	c, err := s.nonSpace()
	switch {
	case errors.Is(err, io.EOF):
		return &fileError{s.line, "tệp rỗng", "it is empty"}
	case err != nil:
		return err
	case c != '[':
		return &fileError{
			s.line, "phải là một mảng JSON các yêu cầu dịch vụ, bắt đầu bằng \"[\"",
			"it must be a JSON array of service requests, beginning with \"[\"",
		}
	}
	return nil
}

// next returns the next element, io.EOF after the last.
func (s *splitter) next() (row, error) {
	if s.done {
		return row{}, s.end()
	}
	c, err := s.nonSpace()
	if err != nil {
		return row{}, s.cutOff(err)
	}
	if c == ']' && s.rows == 0 {
		s.done = true
		return row{}, s.end()
	}
	s.rows++
	element := row{line: s.line}
	var depth int
	quote := -1 // Where in the text the string began that we are in, -1 outside of strings.
	var escaped bool
	for {
		// A backslash counts outside of strings, too: so what is read again has no second string in it to be read again.
		literal := escaped
		escaped = c == '\\' && !escaped
		switch {
		case c == '"' && literal:
		case c == '"' && quote >= 0:
			quote = -1
		case c == '"':
			quote = len(element.text)
		case c == '\n' && quote >= 0:
			if !element.long {
				// The quote itself stays: it is what makes the row no JSON.
				s.again, s.line = append(bytes.Clone(element.text[quote+1:]), '\n'), s.line-1
				element.text, c = element.text[:quote+1], ' '
			}
			quote = -1
		case quote >= 0:
		case depth == 0 && (c == ',' || c == ']'):
			s.done = c == ']'
			return element, nil
		case c == '{' || c == '[':
			depth++
		case depth > 0 && (c == '}' || c == ']'):
			depth--
		}
		if element.long = element.long || len(element.text) == MaxRowBytes; element.long {
			element.text = nil
		} else {
			element.text = append(element.text, c)
		}
		if c, err = s.read(); err != nil {
			if errors.Is(err, io.EOF) {
				return row{}, &fileError{
					element.line, "hàng bắt đầu ở đây không kết thúc (thiếu dấu ngoặc hoặc tệp bị cắt)",
					"the row that begins here does not end (a bracket is missing or the file was cut off)",
				}
			}
			return row{}, err
		}
	}
}

// end checks that nothing follows the array.
func (s *splitter) end() error {
	_, err := s.nonSpace()
	if err == nil {
		return &fileError{s.line, "còn dữ liệu sau dấu \"]\" kết thúc mảng", "something follows the \"]\" that ends the array"}
	}
	return err
}

func (s *splitter) cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return &fileError{s.line, "thiếu dấu \"]\" kết thúc mảng (tệp bị cắt?)", "the \"]\" that ends the array is missing (was the file cut off?)"}
	}
	return err
}

// nonSpace returns the next byte that is not white space in JSON.
func (s *splitter) nonSpace() (byte, error) {
	for {
		c, err := s.read()
		if err != nil || (c != ' ' && c != '\t' && c != '\r' && c != '\n') {
			return c, err
		}
	}
}

func (s *splitter) read() (c byte, err error) {
	if len(s.again) > 0 {
		c, s.again = s.again[0], s.again[1:]
	} else if c, err = s.r.ReadByte(); err != nil {
		return 0, err
	}
	if c == '\n' {
		s.line++
	}
	return c, nil
}
