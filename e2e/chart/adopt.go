package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Adopt adds the lines of YAML below a heading of the README text to the chart at dir. A
// comment "# FILE: WHERE" says where those after it belong: "as the first line", "at the
// end" or "a new file". The library's repository becomes another one, and myapp the chart's
// name. Adopt returns how many lines it added.
func Adopt(dir, readme, heading, repository string) (lines int, err error) {
	block := regexp.MustCompile("(?s)" + regexp.QuoteMeta(heading) + "\n.*?```yaml\n(.*?)```").FindStringSubmatch(readme)
	if block == nil {
		return 0, fmt.Errorf("no lines of YAML below %q", heading)
	}
	parts := regexp.MustCompile(`(?m)^# (\S+): (.*)\n`)
	names := parts.FindAllStringSubmatch(block[1], -1)
	for i, added := range parts.Split(block[1], -1)[1:] {
		path, where := filepath.Join(dir, names[i][1]), names[i][2]
		content, err := os.ReadFile(path)
		if err != nil && (where != "a new file" || !os.IsNotExist(err)) {
			return lines, err
		}
		lines += strings.Count(added, "\n")
		added = regexp.MustCompile(`oci://\S+`).ReplaceAllString(added, repository)
		added = strings.ReplaceAll(added, "myapp", filepath.Base(dir))
		switch where {
		case "as the first line":
			added += string(content)
		case "at the end", "a new file":
			added = string(content) + added
		default:
			return lines, fmt.Errorf("%s: lines that belong %q", names[i][1], where)
		}
		if err := os.WriteFile(path, []byte(added), 0o644); err != nil {
			return lines, err
		}
	}
	return lines, nil
}
