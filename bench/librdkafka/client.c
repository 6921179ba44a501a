// A client of librdkafka as fast as its interface allows, for bench: values are not copied, delivery
// reports are counted, and what is read is taken in batches.
//
//   client produce BROKERS TOPIC PARTITIONS RECORDS SIZE [NAME=VALUE...]
//   client consume BROKERS TOPIC PARTITIONS RECORDS SIZE [NAME=VALUE...]
//
// It prints one line of JSON: what it did, and how long that took.

#include <librdkafka/rdkafka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char error[512];
static long delivered, failed;

static void die(const char *what, const char *why) {
	fprintf(stderr, "librdkafka client: %s: %s\n", what, why);
	exit(1);
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void report(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque) {
	(void)rk, (void)opaque;
	if (m->err)
		failed++;
	else
		delivered++;
}

static void say(long records, long bytes, double seconds) {
	printf("{\"records\":%ld,\"bytes\":%ld,\"seconds\":%.6f,\"version\":\"%s\"}\n", records, bytes, seconds, rd_kafka_version_str());
}

static void produce(rd_kafka_conf_t *conf, const char *name, int partitions, long records, int size) {
	rd_kafka_conf_set_dr_msg_cb(conf, report);
	rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
	if (!rk)
		die("producer", error);
	rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
	// As in a producer that makes its values: a block of random bytes, each value another part of it.
	int block = 4 << 20;
	char *values = malloc(block + size);
	for (int i = 0; i < block + size; i++)
		values[i] = (char)random();
	double start = now();
	for (long i = 0; i < records; i++) {
		char key[16];
		int key_len = snprintf(key, sizeof key, "%ld", i / partitions % 16);
		while (rd_kafka_produce(topic, i % partitions, 0, values + i * size % block, size, key, key_len, NULL) == -1) {
			if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
				die("produce", rd_kafka_err2str(rd_kafka_last_error()));
			rd_kafka_poll(rk, 10);
		}
		if (i % 256 == 0)
			rd_kafka_poll(rk, 0);
	}
	if (rd_kafka_flush(rk, 120000))
		die("flush", "records are left after 2 minutes");
	double end = now();
	if (failed)
		die("produce", "the broker refused records");
	say(delivered, delivered * size, end - start);
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
}

static void consume(rd_kafka_conf_t *conf, const char *name, int partitions, long records) {
	rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof error);
	if (!rk)
		die("consumer", error);
	rd_kafka_poll_set_consumer(rk);
	rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(partitions);
	for (int i = 0; i < partitions; i++)
		rd_kafka_topic_partition_list_add(all, name, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
	if (rd_kafka_assign(rk, all))
		die("assign", "refused");
	rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
	static rd_kafka_message_t *batch[10000];
	long got = 0, bytes = 0;
	double start = 0;
	while (got < records) {
		ssize_t n = rd_kafka_consume_batch_queue(queue, 1000, batch, sizeof batch / sizeof *batch);
		if (n < 0)
			die("consume", rd_kafka_err2str(rd_kafka_last_error()));
		if (n > 0 && start == 0)
			start = now();
		for (ssize_t i = 0; i < n; i++) {
			if (batch[i]->err && batch[i]->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
				die("consume", rd_kafka_message_errstr(batch[i]));
			if (!batch[i]->err) {
				got++;
				bytes += batch[i]->len;
			}
			rd_kafka_message_destroy(batch[i]);
		}
	}
	say(got, bytes, now() - start);
	rd_kafka_queue_destroy(queue);
	rd_kafka_topic_partition_list_destroy(all);
	rd_kafka_consumer_close(rk);
	rd_kafka_destroy(rk);
}

int main(int argc, char **argv) {
	if (argc < 7)
		die("usage", "produce|consume BROKERS TOPIC PARTITIONS RECORDS SIZE [NAME=VALUE...]");
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	for (int i = 7; i < argc; i++) {
		char *value = strchr(argv[i], '=');
		if (!value)
			die("setting", argv[i]);
		*value++ = 0;
		if (rd_kafka_conf_set(conf, argv[i], value, error, sizeof error) != RD_KAFKA_CONF_OK)
			die("setting", error);
	}
	if (rd_kafka_conf_set(conf, "bootstrap.servers", argv[2], error, sizeof error) != RD_KAFKA_CONF_OK)
		die("brokers", error);
	if (strcmp(argv[1], "produce") == 0)
		produce(conf, argv[3], atoi(argv[4]), atol(argv[5]), atoi(argv[6]));
	else if (strcmp(argv[1], "consume") == 0)
		consume(conf, argv[3], atoi(argv[4]), atol(argv[5]));
	else
		die("usage", "produce or consume");
	return 0;
}
