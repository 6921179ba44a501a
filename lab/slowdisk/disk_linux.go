package slowdisk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	gosync "sync"
	"syscall"
	"time"
	"unsafe"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Name of the file systems, by which Clean finds them.
const fileSystem = "kmt-slowdisk"

// Disk is a mounted directory.
type Disk struct {
	dir    string
	server *fuse.Server
	logger *slog.Logger

	mu       gosync.Mutex
	throttle throttle
	changed  chan struct{} // closed when the slowness changes
	delayed  uint64
	closed   bool
}

// Mount mounts the directory backing on dir, which must exist and be empty. While it is mounted, the files should be
// changed through dir only. This process serves the files: it should keep none of them open for long, nor map
// any into memory, lest it waits for itself.
func Mount(backing, dir string, logger *slog.Logger) (*Disk, error) {
	start, err := startOf(os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("mount %s on %s: %w", backing, dir, err)
	}
	return mountFor(os.Getpid(), start, backing, dir, logger)
}

// mountFor mounts in the name of a process.
func mountFor(pid int, start, backing, dir string, logger *slog.Logger) (*Disk, error) {
	d := &Disk{logger: logger, changed: make(chan struct{})}
	var err error
	if d.dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	fail := func(err error) (*Disk, error) { return nil, fmt.Errorf("mount %s on %s: %w", backing, dir, err) }
	switch info, err := os.Stat(backing); {
	case err != nil:
		return fail(err)
	case !info.IsDir():
		return fail(fmt.Errorf("%s is no directory", backing))
	}
	switch entries, err := os.ReadDir(dir); {
	case errors.Is(err, syscall.ENOTCONN):
		return fail(fmt.Errorf("a killed process has left its mount there, which Clean removes: %w", err))
	case err != nil:
		return fail(err)
	case len(entries) > 0:
		return fail(fmt.Errorf("%s is not empty: it has %s", dir, entries[0].Name()))
	}
	switch _, err := os.Stat("/dev/fuse"); {
	case errors.Is(err, fs.ErrNotExist):
		return fail(fmt.Errorf("%w: load the kernel's FUSE module with modprobe fuse, or pass the device into the container: %w", ErrUnavailable, err))
	case err != nil:
		return fail(err)
	}
	root, err := fusefs.NewLoopbackRoot(backing)
	if err != nil {
		return fail(err)
	}
	log := slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
	options := &fusefs.Options{Logger: log, NullPermissions: true, MountOptions: fuse.MountOptions{
		Name: fileSystem, FsName: fmt.Sprintf("%s:%d:%s", fileSystem, pid, start),
		DirectMount: true, Logger: log,
		MaxWrite: 1 << 20, MaxBackground: 128,
		// Only who uses the mount changes the files. Else each write would drop the file from the page cache.
		ExplicitDataCacheControl: true,
		// It would read and write past this process.
		DisabledCapabilities: fuse.CAP_PASSTHROUGH,
	}}
	if d.server, err = fusefs.Mount(d.dir, &node{LoopbackNode: root.(*fusefs.LoopbackNode), disk: d}, options); err != nil {
		return fail(fmt.Errorf("%w: mounting needs root, or fusermount3 from Debian's package fuse3: %w", ErrUnavailable, err))
	}
	if err := closeOnExec(); err != nil {
		return fail(errors.Join(err, d.Close()))
	}
	return d, nil
}

// closeOnExec keeps the file system's connection to the kernel from processes that this one starts, which
// go-fuse does not. Those that had it would wait, for good and deaf to kill -9, for an answer from a
// server that has been killed, since the kernel gives up only when nobody has the connection any more.
func closeOnExec() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range open {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err != nil || target != "/dev/fuse" {
			continue // not it, or closed meanwhile
		}
		if fd, err := strconv.Atoi(entry.Name()); err == nil {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// Set changes how slow the disk is from now on. What waits for it is done at once.
func (d *Disk) Set(slow Slowness) error {
	if err := slow.Validate(); err != nil {
		return fmt.Errorf("slow disk %s: %w", d.dir, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set(slow)
	return nil
}

func (d *Disk) set(slow Slowness) {
	d.throttle = throttle{slow: slow}
	close(d.changed)
	d.changed = make(chan struct{})
}

// Delayed is how many operations had to wait so far, as evidence that a fault hit something.
func (d *Disk) Delayed() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.delayed
}

func (d *Disk) slowReads() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.throttle.slow.Read > 0 || d.throttle.slow.Bandwidth > 0
}

// cached says whether a part of a file is in the page cache, so that no disk is asked for it. FUSE's own cache keeps
// whole pages only, and so not the end of a segment that a broker appends to and consumers read at once.
func cached(f fusefs.FileHandle, off int64, size int) bool {
	open, ok := f.(fusefs.FilePassthroughFder)
	if !ok {
		return false
	}
	fd, ok := open.PassthroughFd()
	var st unix.Stat_t
	if !ok || unix.Fstat(fd, &st) != nil {
		return false
	}
	end := min(off+int64(size), st.Size)
	page := int64(os.Getpagesize())
	start := off / page * page
	if end <= off {
		return true // there is nothing to read
	}
	memory, err := unix.Mmap(fd, start, int(end-start), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Munmap(memory) }() // what has been mapped can be unmapped
	there := make([]byte, (int64(len(memory))+page-1)/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&memory[0])), uintptr(len(memory)), uintptr(unsafe.Pointer(&there[0])))
	return errno == 0 && !slices.ContainsFunc(there, func(page byte) bool { return page&1 == 0 })
}

// wait is where slowness happens.
func (d *Disk) wait(op operation, size int) {
	d.mu.Lock()
	now := time.Now()
	at := d.throttle.take(now, op, size)
	changed := d.changed
	if at.After(now) {
		d.delayed++
	}
	d.mu.Unlock()
	if !at.After(now) {
		return
	}
	timer := time.NewTimer(at.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	}
}

// Close unmounts the directory; it may be called more than once. Processes that use it should have ended. Where one
// has not, the directory is gone for others all the same, and for that one when this process ends.
func (d *Disk) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.set(Slowness{})
	d.mu.Unlock()
	if err := d.server.Unmount(); err != nil {
		d.logger.Debug("unmount", "dir", d.dir, "err", err)
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", d.dir, err)
		}
	}
	return nil
}

// Clean unmounts what processes have left that ended without Close, and returns the directories.
func Clean() ([]string, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("fuse." + fileSystem))
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var cleaned []string
	var errs []error
	for _, m := range mounts {
		var pid int
		var start string
		if _, err := fmt.Sscanf(strings.ReplaceAll(m.Source, ":", " "), fileSystem+" %d %s", &pid, &start); err != nil {
			continue // not as we name them
		}
		// A process id is given again; with its start time it is the process's own.
		if now, err := startOf(pid); err == nil && now == start {
			continue
		}
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s, left by process %d: %w", m.Mountpoint, pid, err))
			continue
		}
		cleaned = append(cleaned, m.Mountpoint)
	}
	return cleaned, errors.Join(errs...)
}

// startOf is when a process was started, in ticks since the machine was. A zombie counts as none.
func startOf(pid int) (string, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	// The second field is the name in parentheses, whatever is in it. State is the third, start time the 22nd.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("unknown form of /proc/%d/stat: %q", pid, text)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return fields[19], nil
}

// node is a file or directory. What is not here goes straight to the backing one.
type node struct {
	*fusefs.LoopbackNode
	disk *Disk
}

// WrapChild makes the nodes below the root.
func (n *node) WrapChild(_ context.Context, ops fusefs.InodeEmbedder) fusefs.InodeEmbedder {
	return &node{LoopbackNode: ops.(*fusefs.LoopbackNode), disk: n.disk}
}

// Open keeps what the page cache has of the file.
func (n *node) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	f, _, errno := n.LoopbackNode.Open(ctx, flags)
	return f, fuse.FOPEN_KEEP_CACHE, errno
}

func (n *node) Read(ctx context.Context, f fusefs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if n.disk.slowReads() && !cached(f, off, len(dest)) {
		n.disk.wait(read, len(dest))
	}
	return f.(fusefs.FileReader).Read(ctx, dest, off)
}

func (n *node) Write(ctx context.Context, f fusefs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	n.disk.wait(write, len(data))
	return f.(fusefs.FileWriter).Write(ctx, data, off)
}

func (n *node) Writev(ctx context.Context, f fusefs.FileHandle, data [][]byte, off int64) (uint32, syscall.Errno) {
	size := 0
	for _, d := range data {
		size += len(d)
	}
	n.disk.wait(write, size)
	return f.(fusefs.FileWritever).Writev(ctx, data, off)
}

func (n *node) CopyFileRange(ctx context.Context, from fusefs.FileHandle, fromOff uint64, to *fusefs.Inode, toFile fusefs.FileHandle, toOff uint64, size uint64, flags uint64) (uint32, syscall.Errno) {
	n.disk.wait(write, int(min(size, 1<<30)))
	return n.LoopbackNode.CopyFileRange(ctx, from, fromOff, to, toFile, toOff, size, flags)
}

func (n *node) Fsync(ctx context.Context, f fusefs.FileHandle, flags uint32) syscall.Errno {
	n.disk.wait(sync, 0)
	return f.(fusefs.FileFsyncer).Fsync(ctx, flags)
}

func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	f, fuseFlags, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if dir, ok := f.(directory); ok {
		f = slowDirectory{directory: dir, disk: n.disk}
	}
	return f, fuseFlags, errno
}

// directory is what an open directory of the backing file system can.
type directory interface {
	fusefs.FileReaddirenter
	fusefs.FileReleasedirer
	fusefs.FileSeekdirer
	fusefs.FileFsyncdirer
}

type slowDirectory struct {
	directory
	disk *Disk
}

// Fsyncdir is a sync, too: Kafka waits for one after each new file.
func (d slowDirectory) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	d.disk.wait(sync, 0)
	return d.directory.Fsyncdir(ctx, flags)
}
