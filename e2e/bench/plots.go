package main

import (
	"fmt"
	"image/color"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

var colors = map[string]color.Color{
	oursName: color.RGBA{0x1b, 0x6e, 0xc2, 0xff},
	peerName: color.RGBA{0xd9, 0x5f, 0x02, 0xff},
}

var systems = []string{oursName, peerName}

// plots draws what a person looks at first.
func (r *Report) plots(dir string) error {
	failover, err := r.failoverPlot()
	if err != nil {
		return err
	}
	if err := failover.Save(26*vg.Centimeter, 13*vg.Centimeter, filepath.Join(dir, "failover.svg")); err != nil {
		return err
	}
	if !slices.ContainsFunc(r.Scale, func(p Point) bool { return p.Leases == 1 }) {
		return nil
	}
	requests, err := r.scalePlot("API requests per second", func(p Point) float64 { return p.Load.AllRequests })
	if err != nil {
		return err
	}
	cpu, err := r.scalePlot("API server CPU, cores", func(p Point) float64 { return p.Load.APIServerCPU })
	if err != nil {
		return err
	}
	canvas := vgsvg.New(26*vg.Centimeter, 11*vg.Centimeter)
	panels := plot.Align([][]*plot.Plot{{requests, cpu}}, draw.Tiles{Rows: 1, Cols: 2, PadX: vg.Centimeter, PadTop: 2 * vg.Millimeter, PadRight: 5 * vg.Millimeter}, draw.New(canvas))
	requests.Draw(panels[0][0])
	cpu.Draw(panels[0][1])
	file, err := os.Create(filepath.Join(dir, "load.svg"))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	_, err = canvas.WriteTo(file)
	return err
}

// failoverPlot has a dot for every failover.
func (r *Report) failoverPlot() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = "Every failover measured. The number and the bar are the median"
	p.Y.Label.Text = "milliseconds, logarithmic"
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Min, p.Y.Max = 1, 100000
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Millimeter
	p.Add(plotter.NewGrid())
	columns := []struct {
		name, scenario string
		lease          time.Duration
	}{
		{"first leader,\nfrom exec", firstLeader, 15 * time.Second},
		{"clean handover,\nlease 3 s", cleanStop, 3 * time.Second},
		{"clean handover,\nlease 15 s", cleanStop, 15 * time.Second},
		{"after SIGKILL,\npast expiry,\nlease 3 s", overshoot, 3 * time.Second},
		{"after SIGKILL,\npast expiry,\nlease 15 s", overshoot, 15 * time.Second},
		{"after SIGKILL,\nfrom the kill,\nlease 3 s", killed, 3 * time.Second},
		{"after SIGKILL,\nfrom the kill,\nlease 15 s", killed, 15 * time.Second},
	}
	var names []string
	for _, c := range columns {
		names = append(names, c.name)
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.6, float64(len(columns))-0.4
	jitter := rand.New(rand.NewPCG(1, 1)) // dots side by side; the same picture every time
	for side, system := range systems {
		for i, c := range columns {
			samples := r.samples(c.scenario, c.lease, system)
			if len(samples.Millis) == 0 {
				continue
			}
			x := float64(i) + 0.4*(float64(side)-0.5)
			var dots plotter.XYs
			for _, ms := range samples.Millis {
				dots = append(dots, plotter.XY{X: x + 0.24*(jitter.Float64()-0.5), Y: math.Max(ms, 1)})
			}
			scatter, err := plotter.NewScatter(dots)
			if err != nil {
				return nil, err
			}
			scatter.GlyphStyle = draw.GlyphStyle{Color: colors[system], Radius: vg.Points(2.5), Shape: draw.CircleGlyph{}}
			median := math.Max(samples.median(), 1)
			bar, err := plotter.NewLine(plotter.XYs{{X: x - 0.17, Y: median}, {X: x + 0.17, Y: median}})
			if err != nil {
				return nil, err
			}
			bar.LineStyle = draw.LineStyle{Color: color.Black, Width: vg.Points(1.5)}
			// Above the highest dot, where no dot is.
			top := plotter.XYs{{X: x, Y: math.Max(slices.Max(samples.Millis), 1) * 1.4}}
			label, err := plotter.NewLabels(plotter.XYLabels{XYs: top, Labels: []string{fmt.Sprintf("%.0f", samples.median())}})
			if err != nil {
				return nil, err
			}
			label.TextStyle[0].Font.Size = vg.Points(9)
			label.TextStyle[0].XAlign = text.XCenter
			p.Add(scatter, bar, label)
			if i == 0 {
				p.Legend.Add(system, scatter)
			}
		}
	}
	return p, nil
}

// scalePlot is a line for each system over the followers of one Lease.
func (r *Report) scalePlot(title string, of func(Point) float64) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = title
	p.X.Label.Text = "replicas of one Lease"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Millimeter
	p.Add(plotter.NewGrid())
	for _, system := range systems {
		var points plotter.XYs
		var labels []string
		for _, point := range r.Scale {
			if point.System == system && point.Leases == 1 {
				points = append(points, plotter.XY{X: float64(point.Replicas), Y: math.Max(of(point), 0.001)})
				labels = append(labels, fmt.Sprintf("%.3g", of(point)))
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = colors[system], vg.Points(2)
		dots.GlyphStyle = draw.GlyphStyle{Color: colors[system], Radius: vg.Points(3), Shape: draw.CircleGlyph{}}
		values, err := plotter.NewLabels(plotter.XYLabels{XYs: points, Labels: labels})
		if err != nil {
			return nil, err
		}
		// The upper line's numbers are above it, the lower one's below.
		values.Offset.Y = vg.Points(7)
		if system == oursName {
			values.Offset.Y = vg.Points(-14)
		}
		for i := range values.TextStyle {
			values.TextStyle[i].XAlign = text.XRight
			if system == oursName {
				values.TextStyle[i].XAlign = text.XCenter
			}
		}
		p.Add(line, dots, values)
		p.Legend.Add(system, line, dots)
	}
	p.X.Min, p.X.Max = 1, 3000
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(p.Y.Min))), math.Pow(10, math.Floor(math.Log10(p.Y.Max))+1)
	return p, nil
}
