package capability

import "testing"

// TestCostExec: a command costs more with each word, each rule, and each
// pattern that its operands are held against.
func TestCostExec(t *testing.T) {
	cost := func(g Grants, argv ...string) int64 {
		e, err := New(g)
		if err != nil {
			t.Fatal(err)
		}
		return e.CostExec(argv)
	}
	one := Grants{Execute: []Command{{"git", "log"}}}
	three := Grants{Execute: []Command{{"git", "log"}, {"git", "status"}, {"jq", "*"}}}
	forbidding := Grants{Execute: one.Execute, Forbidden: []string{"**/a/**/b/**/c"}}
	rising := []int64{
		cost(one, "git"), cost(one, "git", "log"), cost(one, "git", "log", "docs/a/b"),
		cost(three, "git", "log", "docs/a/b"), cost(forbidding, "git", "log", "docs/a/b/a/b/a/b"),
	}
	for i, c := range rising {
		if c < 1 || i > 0 && c <= rising[i-1] {
			t.Errorf("costs %v, want them to rise", rising)
		}
	}
}
