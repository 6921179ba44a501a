package slowdisk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// patience bounds every wait for something that is bound to come.
const patience = 30 * time.Second

// helperEnv makes this test's executable another process, which does what its value says in a directory.
const helperEnv, helperDir = "SLOWDISK_TEST_HELPER", "SLOWDISK_TEST_DIR"

func TestMain(m *testing.M) {
	var err error
	dir := os.Getenv(helperDir)
	switch os.Getenv(helperEnv) {
	case "files":
		err = useFiles(dir)
	case "map":
		err = useMap(dir)
	case "own":
		err = own(dir)
	case "mount":
		_, err = Mount(filepath.Join(dir, "backing"), filepath.Join(dir, "disk"), quiet())
	default:
		if _, err = Clean(); err == nil { // what a run of these tests has left that was killed
			os.Exit(m.Run())
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// helper is a process of this executable. A test does not use a mount of its own process where that could wait for
// itself: a page fault stops the thread that it is on, and Go cannot know.
func helper(what, dir string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), helperEnv+"="+what, helperDir+"="+dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mount mounts a disk for a test. It needs root, and the test fails without.
func mount(t *testing.T) (d *Disk, backing, dir string) {
	t.Helper()
	backing, err := os.MkdirTemp("/var/tmp", "slowdisk-test-") // /tmp may be memory, of which all is cached
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(backing) })
	dir = t.TempDir()
	d, err = Mount(backing, dir, quiet())
	if err != nil {
		t.Fatalf("%v\nThis test needs root and /dev/fuse.", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, backing, dir
}

func mounted(t *testing.T, dir string) bool {
	t.Helper()
	m, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(dir))
	must(t, err)
	return len(m) > 0
}

func TestFilesDoWhatKafkaDoesWithThem(t *testing.T) {
	_, backing, dir := mount(t)
	for _, what := range []string{"files", "map"} {
		if out, err := helper(what, dir).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
	}
	for name, want := range map[string]string{"renamed": "one, two", "mapped": "mapped memory", "checkpoint": "new"} {
		if got, err := os.ReadFile(filepath.Join(backing, name)); err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("%s holds %.20q in the backing directory, want %q: %v", name, got, want, err)
		}
	}
}

// useFiles uses files as a broker does, but for mapping them.
func useFiles(dir string) error {
	path := func(name string) string { return filepath.Join(dir, name) }
	check := func(what string, err error) error {
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	// A segment: preallocated, appended to, synced, cut, renamed.
	f, err := os.OpenFile(path("segment"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := errors.Join(
		check("fallocate", unix.Fallocate(int(f.Fd()), 0, 0, 1<<20)),
		check("cut", f.Truncate(0)),
	); err != nil {
		return err
	}
	for _, text := range []string{"one, ", "two", " and more"} {
		if _, err := f.WriteString(text); err != nil {
			return err
		}
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := errors.Join(
		check("cut", f.Truncate(8)),
		check("sync", f.Sync()),
		check("sync data", unix.Fdatasync(int(f.Fd()))),
		check("rename", os.Rename(path("segment"), path("renamed"))),
		check("sync directory", folder.Sync()),
	); err != nil {
		return err
	}
	// sendfile, which is how a broker answers consumers.
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	var from int64
	n, err := unix.Sendfile(int(w.Fd()), int(f.Fd()), &from, 8)
	if err != nil || n != 8 {
		return fmt.Errorf("sendfile sent %d: %w", n, err)
	}
	w.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "one, two" {
		return fmt.Errorf("sendfile sent %q: %w", got, err)
	}
	// A checkpoint: written beside the old one, renamed over it.
	for _, text := range []string{"old", "new"} {
		if err := errors.Join(os.WriteFile(path("checkpoint.tmp"), []byte(text), 0o644), os.Rename(path("checkpoint.tmp"), path("checkpoint"))); err != nil {
			return err
		}
	}
	// The lock of a log directory keeps another process out.
	lock, err := os.Create(path(".lock"))
	if err != nil {
		return err
	}
	if err := unix.FcntlFlock(lock.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		return check("lock", err)
	}
	// A topic: its directory is made, renamed and deleted with what is in it, open or not.
	if err := errors.Join(os.Mkdir(path("topic-0"), 0o755), os.WriteFile(path("topic-0/log"), []byte("records"), 0o644), os.Rename(path("topic-0"), path("topic-0-delete"))); err != nil {
		return err
	}
	open, err := os.Open(path("topic-0-delete/log"))
	if err != nil {
		return err
	}
	defer open.Close()
	if err := os.RemoveAll(path("topic-0-delete")); err != nil {
		return err
	}
	if got, err := io.ReadAll(open); err != nil || string(got) != "records" {
		return fmt.Errorf("a deleted file that is open holds %q: %w", got, err)
	}
	names, err := folder.Readdirnames(-1)
	slices.Sort(names)
	if want := []string{".lock", "checkpoint", "renamed"}; err != nil || !slices.Equal(names, want) {
		return fmt.Errorf("the directory lists %q, want %q: %w", names, want, err)
	}
	var space unix.Statfs_t
	if err := unix.Statfs(dir, &space); err != nil || space.Bavail == 0 {
		return fmt.Errorf("%d blocks are free: %w", space.Bavail, err)
	}
	return nil
}

// useMap maps a file as a broker does its indexes: grown, shared, written, synced, cut.
func useMap(dir string) error {
	f, err := os.Create(filepath.Join(dir, "mapped"))
	if err != nil {
		return err
	}
	defer f.Close()
	const size = 1 << 20
	if err := f.Truncate(size); err != nil {
		return err
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	for i := range memory {
		memory[i] = byte(i)
	}
	copy(memory, "mapped memory")
	if err := unix.Msync(memory, unix.MS_SYNC); err != nil {
		return fmt.Errorf("msync: %w", err)
	}
	read := make([]byte, size)
	if _, err := f.ReadAt(read, 0); err != nil || !bytes.Equal(read, memory) {
		return fmt.Errorf("a read sees other than the mapped memory: %w", err)
	}
	if _, err := f.WriteAt([]byte("written"), 4096); err != nil || string(memory[4096:4103]) != "written" {
		return fmt.Errorf("mapped memory has %q after a write: %w", memory[4096:4103], err)
	}
	return errors.Join(unix.Munmap(memory), f.Truncate(4096), f.Sync())
}

func TestTheDiskIsSlowWhereAskedForAndNowhereElse(t *testing.T) {
	d, backing, dir := mount(t)
	other, otherBacking, otherDir := mount(t)
	f, g := create(t, dir), create(t, otherDir)
	backingOf := map[*os.File]string{f: backing, g: otherBacking}
	const late = 80 * ms
	buf := make([]byte, 100)
	operations := []struct {
		what string
		slow Slowness
		do   func(*os.File) error
	}{
		{"write", Slowness{Write: late}, func(f *os.File) error { _, err := f.WriteAt(buf, 0); return err }},
		{"sync", Slowness{Sync: late}, func(f *os.File) error { return f.Sync() }},
		{"sync of the directory", Slowness{Sync: late}, func(f *os.File) error {
			folder, err := os.Open(filepath.Dir(f.Name()))
			if err != nil {
				return err
			}
			defer folder.Close()
			return folder.Sync()
		}},
		{"read", Slowness{Read: late}, func(f *os.File) error {
			below, err := os.Open(filepath.Join(backingOf[f], "file"))
			if err != nil {
				return err
			}
			defer below.Close()
			err = errors.Join(below.Sync(), // what is not on the disk is not dropped
				unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), unix.Fadvise(int(below.Fd()), 0, 0, unix.FADV_DONTNEED))
			if err != nil {
				return err
			}
			_, err = f.ReadAt(buf, 0)
			return err
		}},
		{"write of 80,000 B at 1 MB/s", Slowness{Bandwidth: 1e6}, func(f *os.File) error { _, err := f.WriteAt(make([]byte, 80_000), 0); return err }},
	}
	// On a busy machine one may be late by itself, but not the fastest of some.
	fastest := func(f *os.File, do func(*os.File) error) time.Duration {
		least := time.Hour
		for range 5 {
			start := time.Now()
			must(t, do(f))
			least = min(least, time.Since(start))
		}
		return least
	}
	for _, op := range operations {
		for _, slow := range operations {
			must(t, d.Set(slow.slow))
			got := fastest(f, op.do)
			if op.what == slow.what && got < late {
				t.Errorf("%s with %+v takes %s, want at least %s", op.what, slow.slow, got, late)
			}
			if op.what == "read" && slow.slow.Read == 0 && slow.slow.Bandwidth == 0 && got >= late {
				t.Errorf("%s with %+v takes %s", op.what, slow.slow, got)
			}
		}
		if got := fastest(g, op.do); got >= late {
			t.Errorf("%s on another disk takes %s", op.what, got)
		}
		must(t, d.Set(Slowness{}))
		if got := fastest(f, op.do); got >= late {
			t.Errorf("%s on the disk when it is well again takes %s", op.what, got)
		}
	}
	if d.Delayed() == 0 || other.Delayed() != 0 {
		t.Errorf("%d operations had to wait on the slow disk, %d on the other", d.Delayed(), other.Delayed())
	}
	if err := d.Set(Slowness{Write: -1}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a negative latency: %v", err)
	}
}

func TestReadsFromThePageCacheAreFast(t *testing.T) {
	d, _, dir := mount(t)
	f := create(t, dir)
	must(t, d.Set(Slowness{Read: maxLatency}))
	again, err := os.Open(f.Name()) // which must not drop it from the cache
	must(t, err)
	defer again.Close()
	buf := make([]byte, 100)
	for _, file := range []*os.File{f, again} {
		_, err := file.ReadAt(buf, 0)
		must(t, err)
	}
	if d.Delayed() != 0 {
		t.Errorf("%d reads of what has just been written had to wait", d.Delayed())
	}
}

func create(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "file"))
	must(t, err)
	t.Cleanup(func() { f.Close() })
	_, err = f.Write(make([]byte, 100))
	must(t, err)
	return f
}

func TestWhatWaitsIsDoneWhenTheDiskIsWellAgain(t *testing.T) {
	d, _, dir := mount(t)
	f := create(t, dir)
	must(t, d.Set(Slowness{Sync: maxLatency}))
	start := time.Now()
	done := make(chan error, 1)
	go func() { done <- f.Sync() }()
	for d.Delayed() == 0 {
		if time.Since(start) > patience {
			t.Fatal("the sync has not begun")
		}
		time.Sleep(ms)
	}
	select {
	case err := <-done:
		t.Fatalf("the sync did not wait: %v", err)
	case <-time.After(50 * ms):
	}
	must(t, d.Set(Slowness{}))
	must(t, <-done)
	if took := time.Since(start); took >= maxLatency {
		t.Errorf("the sync took %s", took)
	}
}

func TestCloseUnmountsInAnyCase(t *testing.T) {
	d, _, dir := mount(t)
	f := create(t, dir)
	must(t, d.Set(Slowness{Sync: maxLatency}))
	done := make(chan error, 1)
	go func() { done <- f.Sync() }()
	for start := time.Now(); d.Delayed() == 0; time.Sleep(ms) {
		if time.Since(start) > patience {
			t.Fatal("the sync has not begun")
		}
	}
	must(t, d.Close()) // with a file open, and one waiting
	must(t, <-done)
	if mounted(t, dir) {
		t.Errorf("%s is still mounted", dir)
	}
	must(t, d.Close())
}

// own mounts a disk, says so and waits to be killed.
func own(dir string) error {
	if _, err := Mount(filepath.Join(dir, "backing"), filepath.Join(dir, "disk"), quiet()); err != nil {
		return err
	}
	fmt.Println("mounted")
	select {}
}

func TestCleanUnmountsWhatKilledOwnersLeftAndNothingElse(t *testing.T) {
	_, _, alive := mount(t)
	dir := t.TempDir()
	left := filepath.Join(dir, "disk")
	must(t, errors.Join(os.Mkdir(left, 0o755), os.Mkdir(filepath.Join(dir, "backing"), 0o755)))
	t.Cleanup(func() { _ = unix.Unmount(left, unix.MNT_DETACH) })
	cmd := helper("own", dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	text, err := bufio.NewReader(out).ReadString('\n')
	if text != "mounted\n" {
		_ = cmd.Process.Kill()
		t.Fatalf("the owner said %q (%v)", text, err)
	}
	if cleaned, err := Clean(); err != nil || slices.Contains(cleaned, left) {
		t.Errorf("while its owner lives: cleaned %q, %v", cleaned, err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	if !mounted(t, left) {
		t.Fatal("the mount went with its owner: Clean has nothing to do")
	}
	if _, err := Mount(filepath.Join(dir, "backing"), left, quiet()); err == nil || !strings.Contains(err.Error(), "Clean removes") {
		t.Errorf("a mount on what a killed one has left: %v", err)
	}
	cleaned, err := Clean()
	if err != nil || !slices.Contains(cleaned, left) {
		t.Errorf("after kill -9: cleaned %q, %v", cleaned, err)
	}
	if mounted(t, left) || !mounted(t, alive) {
		t.Errorf("after Clean the killed one's is mounted: %v, the living one's: %v", mounted(t, left), mounted(t, alive))
	}
}

func TestCleanKnowsAProcessThatGotTheIDOfAnother(t *testing.T) {
	backing, dir := t.TempDir(), t.TempDir()
	d, err := mountFor(os.Getpid(), "1", backing, dir, quiet()) // one of this id that was started with the machine
	must(t, err)
	cleaned, err := Clean()
	if err != nil || !slices.Contains(cleaned, dir) || mounted(t, dir) {
		t.Errorf("cleaned %q, %v", cleaned, err)
		must(t, d.Close())
	}
}

func TestMountSaysWhatIsMissing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o644))
	full := filepath.Dir(file)
	for what, c := range map[string]struct{ backing, dir, want string }{
		"no backing directory": {"/nowhere", t.TempDir(), "no such file"},
		"a backing file":       {file, t.TempDir(), "is no directory"},
		"no mount point":       {t.TempDir(), "/nowhere", "no such file"},
		"a full mount point":   {t.TempDir(), full, "is not empty"},
	} {
		if d, err := Mount(c.backing, c.dir, quiet()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
			if err == nil {
				d.Close()
			}
		}
	}
	dir, err := os.MkdirTemp("/tmp", "slowdisk-test-") // that nobody may enter
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "backing"), 0o755), os.Mkdir(filepath.Join(dir, "disk"), 0o755)))
	cmd := helper("mount", dir)
	const nobody = 65534
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	cmd.Env = append(cmd.Env, "PATH=/nowhere") // a fusermount would do
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), ErrUnavailable.Error()) || !strings.Contains(string(out), "needs root") {
		t.Errorf("without rights: %v\n%s", err, out)
	}
}

// A broker that had the file system's connection would outlive a kill -9 of the lab, and its own.
func TestChildrenDoNotGetTheConnection(t *testing.T) {
	mount(t)
	// The shell's own descriptors, as it was born with them.
	out, err := exec.Command("sh", "-c", "ls -l /proc/$$/fd").CombinedOutput()
	must(t, err)
	if strings.Contains(string(out), "/dev/fuse") {
		t.Errorf("a child has\n%s", out)
	}
}
