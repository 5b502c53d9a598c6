// Renders a chart as `helm template` does, for machines without helm: text/template and sprig, as Helm has them,
// and the functions that Helm adds. NOTES.txt goes to standard error. Subcharts and the order of hooks are not
// covered.
//
//	render CHART NAMESPACE NAME KUBERNETES [VALUES.yaml ...]
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	sprig "github.com/Masterminds/sprig"
	"github.com/ghodss/yaml"
)

type tree = map[string]interface{}

// files are those of the chart that are no templates, as .Files has them.
type files string

func (chart files) Get(name string) string {
	content, err := os.ReadFile(filepath.Join(string(chart), name))
	if err != nil {
		return ""
	}
	return string(content)
}

func main() {
	if len(os.Args) < 5 {
		fail(errors.New("render CHART NAMESPACE NAME KUBERNETES [VALUES.yaml ...]"))
	}
	chart, namespace, name, kubernetes := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	values := read(filepath.Join(chart, "values.yaml"))
	for _, path := range os.Args[5:] {
		merge(values, read(path))
	}
	version := strings.SplitN(kubernetes, ".", 2)
	data := tree{
		"Values":  values,
		"Chart":   titled(read(filepath.Join(chart, "Chart.yaml"))),
		"Files":   files(chart),
		"Release": tree{"Name": name, "Namespace": namespace, "Service": "Helm", "IsInstall": true, "IsUpgrade": false, "Revision": 1},
		"Capabilities": tree{"KubeVersion": tree{
			"Version": "v" + kubernetes + ".0", "Major": version[0], "Minor": version[1]}},
	}
	templates, names := parse(chart)
	for _, each := range names {
		text := strings.TrimSpace(execute(templates, each, data))
		if filepath.Base(each) == "NOTES.txt" {
			fmt.Fprintln(os.Stderr, text)
		} else if text != "" {
			fmt.Printf("---\n# Source: %s\n%s\n", each, strings.TrimPrefix(text, "---\n"))
		}
	}
}

// parse reads the templates of a chart and the names of those that are rendered.
func parse(chart string) (*template.Template, []string) {
	all := template.New("chart").Option("missingkey=zero")
	all.Funcs(functions(all))
	var rendered []string
	root := filepath.Join(chart, "templates")
	fail(filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(chart, path)
		if _, err := all.New(name).Parse(string(content)); err != nil {
			return err
		}
		if base := filepath.Base(path); !strings.HasPrefix(base, "_") {
			rendered = append(rendered, name)
		}
		return nil
	}))
	sort.Strings(rendered)
	return all, rendered
}

// functions are sprig's and those that Helm adds; it takes away two that read the environment.
func functions(all *template.Template) template.FuncMap {
	given := sprig.TxtFuncMap()
	delete(given, "env")
	delete(given, "expandenv")
	given["toYaml"] = func(value interface{}) string {
		text, err := yaml.Marshal(value)
		if err != nil {
			return ""
		}
		return strings.TrimSuffix(string(text), "\n")
	}
	given["fromYaml"] = func(text string) tree {
		value := tree{}
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			value["Error"] = err.Error()
		}
		return value
	}
	given["include"] = func(name string, data interface{}) (string, error) {
		var text strings.Builder
		err := all.ExecuteTemplate(&text, name, data)
		return text.String(), err
	}
	given["tpl"] = func(text string, data interface{}) (string, error) {
		own, err := all.Clone()
		if err != nil {
			return "", err
		}
		if own, err = own.New("tpl").Parse(text); err != nil {
			return "", err
		}
		var done strings.Builder
		err = own.Execute(&done, data)
		return strings.ReplaceAll(done.String(), "<no value>", ""), err
	}
	given["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, errors.New(message)
		}
		return value, nil
	}
	given["lookup"] = func(...string) tree { return tree{} }
	return given
}

func execute(templates *template.Template, name string, data tree) string {
	var text bytes.Buffer
	fail(templates.ExecuteTemplate(&text, name, data))
	return strings.ReplaceAll(text.String(), "<no value>", "")
}

func read(path string) tree {
	content, err := os.ReadFile(path)
	fail(err)
	value := tree{}
	fail(yaml.Unmarshal(content, &value))
	return value
}

// merge lays values over others: tables are merged, null takes away.
func merge(under, over tree) {
	for key, value := range over {
		above, both := value.(tree)
		below, isTree := under[key].(tree)
		switch {
		case value == nil:
			delete(under, key)
		case both && isTree:
			merge(below, above)
		default:
			under[key] = value
		}
	}
}

// titled are the fields of Chart.yaml by the names that templates use.
func titled(chart tree) tree {
	fields := tree{}
	for key, value := range chart {
		fields[strings.ToUpper(key[:1])+key[1:]] = value
	}
	return fields
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}
