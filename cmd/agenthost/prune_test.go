package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/session"
)

func TestChoose(t *testing.T) {
	now := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	ago := func(id string, days int, closed bool) session.Summary {
		return session.Summary{ID: session.ID(id), Changed: now.AddDate(0, 0, -days), Closed: closed}
	}
	list := []session.Summary{
		ago("SES-a", 1, true), ago("SES-b", 30, true), ago("SES-c", 10, true), ago("SES-d", 40, false),
		{ID: "SES-e", Closed: true, Err: errors.New("torn")},
		ago("SES-f", 10, true),
		{ID: "SES-g", Running: true, Changed: now.AddDate(0, 0, -90)},
	}
	for _, c := range []struct {
		age  string
		keep int
		want string
	}{
		{"0s", 0, "SES-b SES-c SES-f SES-a"},
		{"10d", 0, "SES-b SES-c SES-f"},
		{"11d", 0, "SES-b"},
		{"0s", 3, "SES-b"},
		{"0s", 2, "SES-b SES-c"},
		{"0s", 9, ""},
		{"20d", 1, "SES-b"},
		{"5d", 3, "SES-b"},
	} {
		age, err := ageOf(c.age)
		if err != nil {
			t.Fatal(err)
		}
		chosen, skipped := choose(list, age, c.keep, now)
		var got []string
		for _, s := range chosen {
			got = append(got, string(s.ID))
		}
		if strings.Join(got, " ") != c.want || fmt.Sprint(skipped) != "[{SES-e it cannot be read: torn}]" {
			t.Errorf("older than %s, keep %d: got %s, %v, want %s", c.age, c.keep, got, skipped, c.want)
		}
	}
}
