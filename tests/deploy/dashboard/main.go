// Reads a dashboard as strictly as Grafana's published types do, and says what they do not know: fields, kinds of
// panels, options of panels, units.
//
//	dashboard-check docs/operations/dashboard.json
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// Those that the dashboard may use, by Grafana's names.
var known = []string{
	units.BytesIEC, units.BytesPerSecondSI, units.DateTimeFromNow, units.DurationSeconds, units.MessagesPerSecond,
	units.NoUnit, units.PercentUnit, units.RecordsPerSecond, units.Seconds, units.Short,
}

func check(text []byte) error {
	var strict, read dashboard.Dashboard
	// It returns an empty list of errors where there is none, and leaves its receiver half filled.
	if err := strict.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
		return err
	}
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	if err := read.Validate(); err != nil {
		return err
	}
	panels := 0
	for _, either := range read.Panels {
		panel := either.Panel
		if panel == nil {
			continue
		}
		panels++
		if _, found := cog.ConfigForPanelcfgVariant(panel.Type); !found {
			return fmt.Errorf("%s: Grafana has no panels of the kind %q", *panel.Title, panel.Type)
		}
		if unit := panel.FieldConfig.Defaults.Unit; unit == nil || !slices.Contains(known, *unit) {
			return fmt.Errorf("%s: its unit is none of %v", *panel.Title, known)
		}
	}
	if panels == 0 {
		return errors.New("it has no panels")
	}
	return nil
}

func main() {
	plugins.RegisterDefaultPlugins()
	err := errors.New("usage: dashboard-check FILE")
	if len(os.Args) == 2 {
		var text []byte
		if text, err = os.ReadFile(os.Args[1]); err == nil {
			err = check(text)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
