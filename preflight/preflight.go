package main

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// run makes all checks.
func (p *preflight) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "preflight")
	if err != nil {
		return fmt.Errorf("a directory for the program: %w", err)
	}
	defer os.RemoveAll(dir)

	checks := p.toolChecks()
	checks = append(checks, check{"Pulumi's state", p.backend})

	// What several checks need is read once.
	stacks := make([]shared[*settings], len(p.stacks))
	read := func(ctx context.Context, i int) (*settings, error) {
		return stacks[i].get(func() (*settings, error) {
			config, err := p.configuration(ctx, p.stacks[i])
			if err != nil {
				return nil, err
			}
			return readSettings(p.stacks[i], config)
		})
	}
	for i, name := range p.stacks {
		checks = append(checks, check{"stack " + name, func(ctx context.Context) finding {
			s, err := read(ctx, i)
			if err != nil {
				return fail(fmt.Sprintf("if there is no such stack: `pulumi stack init %s`", name), "%v", err)
			}
			if !s.aws {
				return ok("an existing cluster, by kubeconfig")
			}
			return ok("%s, %d nodes", s.region, s.nodes)
		}})
	}
	checks = append(checks, check{"networks", func(ctx context.Context) finding {
		var all []*settings
		for i := range p.stacks {
			s, err := read(ctx, i)
			if err != nil {
				return skip("see stack " + p.stacks[i])
			}
			all = append(all, s)
		}
		return checkPeers(all)
	}})

	// Regions are asked only once the credentials are known to work.
	var login shared[*account]
	credentials := func(ctx context.Context) (*account, error) {
		return login.get(func() (*account, error) {
			none := errNotOnAWS
			for i := range p.stacks {
				switch s, err := read(ctx, i); {
				case err != nil:
					none = errNotRead
				case s.aws:
					return p.login(ctx, s.region)
				}
			}
			return nil, none
		})
	}
	checks = append(checks, check{"AWS credentials", func(ctx context.Context) finding {
		a, err := credentials(ctx)
		switch {
		case errors.Is(err, errNotOnAWS):
			return ok("not needed: no stack is on AWS")
		case errors.Is(err, errNotRead):
			return skip(err.Error())
		case err != nil:
			return explain("log in to AWS", err)
		}
		return a.expiry()
	}})
	for i, name := range p.stacks {
		for _, c := range regionChecks() {
			checks = append(checks, check{name + ": " + c.name, func(ctx context.Context) finding {
				s, err := read(ctx, i)
				if err != nil {
					return skip("see stack " + name)
				}
				if !s.aws {
					return ok("not needed")
				}
				if _, err := credentials(ctx); err != nil {
					return skip("see AWS credentials")
				}
				r, err := p.region(ctx, s)
				if err != nil {
					return explain("read AWS's configuration", err)
				}
				return c.run(r, ctx)
			}})
		}
		checks = append(checks, check{name + ": images", func(ctx context.Context) finding {
			s, err := read(ctx, i)
			if err != nil {
				return skip("see stack " + name)
			}
			if _, err := credentials(ctx); err != nil && s.aws {
				return skip("see AWS credentials")
			}
			return p.images(ctx, s)
		}})
	}

	// The first build takes minutes: it comes last.
	var program shared[string]
	build := func(ctx context.Context) (string, error) {
		return program.get(func() (string, error) { return p.buildProgram(ctx, dir) })
	}
	checks = append(checks, check{"program", func(ctx context.Context) finding {
		if _, err := build(ctx); err != nil {
			return fail("run this in the repository; is the tree as it was checked out?", "%v", err)
		}
		return ok("compiles")
	}})
	for i, name := range p.stacks {
		checks = append(checks, check{name + ": configuration", func(ctx context.Context) finding {
			s, err := read(ctx, i)
			if err != nil {
				return skip("see stack " + name)
			}
			binary, err := build(ctx)
			if err != nil {
				return skip("see program")
			}
			return p.checkProgram(ctx, binary, name, s.config)
		}})
	}
	return perform(ctx, checks, p.stdout)
}

var (
	errNotOnAWS = errors.New("no stack is on AWS")
	errNotRead  = errors.New("no stack that can be read is on AWS, and not all can be")
)
