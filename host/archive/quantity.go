package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// maxNumber is the largest integer a ledger may hold.
const maxNumber = 1<<53 - 1

// Size is a number of bytes. In JSON and in text it is a whole number, or a
// whole number with the unit B, KiB, MiB or GiB: 4096, "256MiB".
// As a JSON schema: an integer ≥ 1, or a string ^[0-9]+(B|KiB|MiB|GiB)?$.
type Size int64

// ParseSize reads a size of at least 1 byte and at most 2^53-1.
func ParseSize(s string) (Size, error) {
	digits, factor := s, int64(1)
	for _, unit := range sizeUnits() {
		if d, ok := strings.CutSuffix(s, unit.name); ok {
			digits, factor = d, unit.bytes
			break
		}
	}
	n, err := parseCount(digits)
	if err != nil {
		return 0, errors.New(`not a size; say it in bytes, or as "64KiB", "256MiB", "1GiB"`)
	}
	if n > maxNumber/factor {
		return 0, errors.New("too large a size")
	}
	return Size(n * factor), nil
}

type sizeUnit struct {
	name  string
	bytes int64
}

func sizeUnits() [4]sizeUnit {
	return [4]sizeUnit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

// String writes the size in the largest unit that divides it.
func (s Size) String() string {
	for _, unit := range sizeUnits() {
		if unit.bytes > 1 && s != 0 && int64(s)%unit.bytes == 0 {
			return strconv.FormatInt(int64(s)/unit.bytes, 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalJSON writes a text where the size has a unit, else a number.
func (s Size) MarshalJSON() ([]byte, error) {
	text := s.String()
	if strings.HasSuffix(text, "B") {
		return strconv.AppendQuote(nil, text), nil
	}
	return []byte(text), nil
}

// UnmarshalJSON reads what ParseSize reads, as a number or as a text.
func (s *Size) UnmarshalJSON(b []byte) error {
	text := string(b)
	if bytes.HasPrefix(b, []byte(`"`)) {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	size, err := ParseSize(text)
	if err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	*s = size
	return nil
}

// Duration is a time on the clock in whole milliseconds. In JSON and in text it
// is written as Go does: "60s", "1m30s", "250ms".
// As a JSON schema: a string.
type Duration time.Duration

// ParseDuration reads a duration of at least one millisecond.
func ParseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, errors.New(`not a time; say it with its unit, as "60s", "5m", "250ms"`)
	case d < time.Millisecond || d%time.Millisecond != 0:
		return 0, errors.New("a time is a whole number of milliseconds, at least one")
	}
	return Duration(d), nil
}

// String writes the duration in seconds where they are whole, else in
// milliseconds.
func (d Duration) String() string {
	if t := time.Duration(d); t%time.Second != 0 {
		return strconv.FormatInt(t.Milliseconds(), 10) + "ms"
	}
	return strconv.FormatInt(int64(time.Duration(d)/time.Second), 10) + "s"
}

// MarshalText writes String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	parsed, err := ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%s: %w", b, err)
	}
	*d = parsed
	return nil
}

// parseCount reads a whole number from 1 to 2^53-1, written with digits only.
func parseCount(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n < 1 || n > maxNumber || strings.HasPrefix(s, "+") {
		return 0, fmt.Errorf("not a whole number from 1 to %d", int64(math.Min(maxNumber, math.MaxInt64)))
	}
	return int64(n), nil
}
