package ocean

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// offloadHeader is the length of struct virtio_net_hdr, which comes before each packet: whether its checksum
	// is still to be made, and whether it is many packets in one piece. Given back to another device
	// unchanged, nobody has to make the checksum or to take it apart, as between two virtual machines.
	offloadHeader = 10
	largest       = offloadHeader + 1<<16
	// queueLength of a device, in packets. The kernel's 500 would overflow, and so lose packets that nobody
	// asked to lose, as soon as this process does not get a processor for some milliseconds.
	queueLength = 16384
)

// device is a TUN device: what the kernel sends to it is read here, what is written here the kernel receives.
// It is gone when its file is closed.
type device struct {
	file   *os.File
	conn   syscall.RawConn
	handle *netlink.Handle // in the device's namespace
	name   string
}

// Names of the devices, of a host's in its namespace and of those outside, which end in the number of their ocean.
const (
	insideName  = "ocean"
	outsideName = "kmt-ocean-"
)

// openDevice makes a TUN device in the thread's namespace.
func openDevice(name string, addr netip.Prefix, mtu int) (d *device, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("TUN device %s: %w", name, err)
			if d != nil {
				err = errors.Join(err, d.close())
			}
		}
	}()
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	d = &device{handle: handle, name: name}
	link := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TUN, NonPersist: true, Queues: 1,
		Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR | netlink.TUNTAP_TUN_EXCL,
	}
	if err := handle.LinkAdd(link); err != nil {
		return d, err
	}
	d.file = link.Fds[0]
	if d.conn, err = d.file.SyscallConn(); err != nil {
		return d, err
	}
	if err := noIPv6(name); err != nil {
		return d, err
	}
	if err := handle.LinkSetMTU(link, mtu); err != nil {
		return d, fmt.Errorf("set MTU %d: %w", mtu, err)
	}
	if err := handle.LinkSetTxQLen(link, queueLength); err != nil {
		return d, fmt.Errorf("set queue length %d: %w", queueLength, err)
	}
	if err := handle.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: addr.Addr().AsSlice(), Mask: net.CIDRMask(addr.Bits(), 32)}}); err != nil {
		return d, fmt.Errorf("set address %s: %w", addr, err)
	}
	if err := handle.LinkSetUp(link); err != nil {
		return d, fmt.Errorf("set up: %w", err)
	}
	return d, nil
}

// openInside makes a host's device, in the thread's namespace, and readies that.
func openInside(addr netip.Prefix, cfg Config) (*device, error) {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return nil, fmt.Errorf("set up the loopback interface: %w", err)
	}
	if cfg.CongestionControl != "" {
		if err := setCongestionControl(cfg.CongestionControl); err != nil {
			return nil, err
		}
	}
	if cfg.SocketBuffer > 0 {
		for _, key := range []string{"ipv4/tcp_rmem", "ipv4/tcp_wmem"} {
			if err := sysctl(key, fmt.Sprintf("4096 131072 %d", cfg.SocketBuffer)); err != nil {
				return nil, err
			}
		}
	}
	return openDevice(insideName, addr, cfg.MTU)
}

// openOutside makes the machine's own device in the first ocean's network that is free. Its name is the lock.
func openOutside(mtu int) (*device, netip.Prefix, error) {
	file, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, netip.Prefix{}, fmt.Errorf("%w: no right to make TUN devices: run as root, with CAP_NET_ADMIN: %w", ErrUnavailable, err)
	case err != nil:
		return nil, netip.Prefix{}, fmt.Errorf("%w: no TUN devices: load the kernel's module with modprobe tun, or pass the device into the container: %w", ErrUnavailable, err)
	}
	if err := file.Close(); err != nil {
		return nil, netip.Prefix{}, err
	}
	// All tables: a VPN's routes are often in one of its own.
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, netip.Prefix{}, fmt.Errorf("%w: list this machine's routes: %w", ErrUnavailable, err)
	}
	var taken []string
	for i := range oceanCount {
		network := netip.PrefixFrom(addressIn(testNetworks, i*oceanSize), oceanBits)
		name := outsideName + strconv.Itoa(i)
		if routed(routes, network) {
			if _, there := netlink.LinkByName(name); there == nil {
				taken = append(taken, name)
			}
			continue
		}
		d, err := openDevice(name, netip.PrefixFrom(addressIn(network, 1), oceanBits), mtu)
		if err == nil {
			return d, network, nil
		}
		if _, there := netlink.LinkByName(name); there == nil {
			taken = append(taken, name) // by another ocean that has just been faster, or by the user
			continue
		}
		return nil, netip.Prefix{}, fmt.Errorf("%w: no right to make TUN devices, or none to be had: run as root, with CAP_NET_ADMIN: %w", ErrUnavailable, err)
	}
	labs := ""
	if len(taken) > 0 {
		labs = fmt.Sprintf("%d by the devices %s (of labs that run; one of no lab goes by: ip link delete %s), ", len(taken), strings.Join(taken, ", "), taken[0])
	}
	return nil, netip.Prefix{}, fmt.Errorf("%w: no addresses: all %d networks of %s that an ocean can have are taken: %s%d by other routes (see: ip route show table all)",
		ErrUnavailable, oceanCount, testNetworks, labs, oceanCount-len(taken))
}

// routed says whether the machine sends what is for a network somewhere already. Routes of half the Internet do not
// count, since a longer one wins.
func routed(routes []netlink.Route, network netip.Prefix) bool {
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		bits, _ := r.Dst.Mask.Size()
		if ok && bits >= 8 && netip.PrefixFrom(addr, bits).Overlaps(network) {
			return true
		}
	}
	return false
}

func setCongestionControl(name string) error {
	err := sysctl("ipv4/tcp_congestion_control", name)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		allowed, listErr := congestionControls()
		return errors.Join(fmt.Errorf("%w: congestion control %q: this machine lets network namespaces use %s; sysctl net.ipv4.tcp_allowed_congestion_control allows others: %w",
			ErrUnavailable, name, strings.Join(allowed, ", "), err), listErr)
	}
	return err
}

// congestionControls returns those that a namespace may use.
func congestionControls() ([]string, error) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
	if err != nil {
		return nil, fmt.Errorf("list congestion controls: %w", err)
	}
	return strings.Fields(string(text)), nil
}

func noIPv6(device string) error {
	err := sysctl("ipv6/conf/"+device+"/disable_ipv6", "1")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EROFS) {
		return nil // no IPv6, or a container; what a kernel sends unasked is not routed anyway
	}
	return err
}

// sysctl sets a value of the thread's namespace.
func sysctl(key, value string) error {
	if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0); err != nil {
		return fmt.Errorf("set net/%s to %q: %w", key, value, err)
	}
	return nil
}

// read returns the next packet, with its header.
func (d *device) read(buf []byte) ([]byte, error) {
	for {
		n, err := d.file.Read(buf)
		if err != nil {
			return nil, err
		}
		if n > offloadHeader {
			return buf[:n], nil
		}
	}
}

func (d *device) write(data []byte) error {
	_, err := d.file.Write(data)
	return err
}

// offload lets the kernel leave checksums out and, with inOne, hand over many packets of a flow in one piece.
func (d *device) offload(inOne bool) error {
	flags := unix.TUN_F_CSUM
	if inOne {
		flags |= unix.TUN_F_TSO4 | unix.TUN_F_TSO_ECN
	}
	var err error
	if controlErr := d.conn.Control(func(fd uintptr) { err = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, flags) }); controlErr != nil {
		err = controlErr
	}
	if err != nil {
		return fmt.Errorf("TUN device %s: set offloads: %w", d.name, err)
	}
	return nil
}

// overruns counts the packets that were lost because nobody read them in time.
func (d *device) overruns() uint64 {
	link, err := d.handle.LinkByName(d.name)
	if err != nil || link.Attrs().Statistics == nil {
		return 0
	}
	return link.Attrs().Statistics.TxDropped
}

func (d *device) close() error {
	var err error
	if d.file != nil {
		err = d.file.Close()
	}
	d.handle.Close()
	return err
}
