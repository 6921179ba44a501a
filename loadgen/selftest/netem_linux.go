package selftest

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/vishvananda/netlink"
)

// Netem shows that the kernel can emulate a bad network, as faults ask it to: it
// adds such a queueing discipline (netem, which delays, drops and reorders
// packets) to the loopback device of its own network namespace and removes it.
// It needs the capability NET_ADMIN.
func Netem(out io.Writer) error {
	link, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback device: %w", err)
	}
	qdisc := netlink.NewNetem(netlink.QdiscAttrs{
		LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
	}, netlink.NetemQdiscAttrs{Latency: 1000, Loss: 1})
	switch err := netlink.QdiscAdd(qdisc); {
	case errors.Is(err, syscall.EPERM):
		return fmt.Errorf("no permission to change the network: run it with the capability NET_ADMIN: %w", err)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EOPNOTSUPP):
		return fmt.Errorf("this node's kernel has no sch_netem, so packets can be neither lost nor delayed: install the package that has it for the running kernel and load it (Amazon Linux 2023: kernel-modules-extra, or kernel6.12-modules-extra and the like by the kernel's version; Debian and Ubuntu: linux-modules-extra): %w", err)
	case err != nil:
		return fmt.Errorf("add a netem queueing discipline to the loopback device: %w", err)
	}
	if err := netlink.QdiscDel(qdisc); err != nil {
		return fmt.Errorf("remove the netem queueing discipline from the loopback device again: %w", err)
	}
	_, err = fmt.Fprintln(out, "the kernel has sch_netem: packets can be lost and delayed")
	return err
}
