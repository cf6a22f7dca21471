"""Drives a running sluiced through a client generated from proto/: `drive.py HOST:PORT [CA_FILE]`.

With a file of authorities it speaks TLS, and sends the token in SLUICE_TOKEN.

Every default is Python gRPC's own, above all the 4 MiB that a client takes as one message.
"""

import os
import pathlib
import sys
import uuid

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "target/python/generated"))

from sluice.v1 import admin_service_pb2 as admin_pb  # noqa: E402
from sluice.v1 import admin_service_pb2_grpc as admin_grpc  # noqa: E402
from sluice.v1 import job_pb2 as job_pb  # noqa: E402
from sluice.v1 import queue_service_pb2 as queue_pb  # noqa: E402
from sluice.v1 import queue_service_pb2_grpc as queue_grpc  # noqa: E402

MIB = 1 << 20


def seconds(count):
    return duration_pb2.Duration(seconds=count)


def details(error, kind):
    """The detail of this kind in an error."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    for any_detail in status.details:
        detail = kind()
        if any_detail.Unpack(detail):
            return detail
    raise AssertionError(f"no {kind.__name__} in {status}")


def job_goes_through_its_life(client):
    spec = job_pb.JobSpec(payload=b"\x00\xff", key="bot/chat", priority=9, labels={"event": "push"})
    request = queue_pb.EnqueueRequest(queue="life", jobs=[spec], request_id=str(uuid.uuid4()))
    job_id = client.Enqueue(request).jobs[0].job_id
    assert client.Enqueue(request).jobs[0].job_id == job_id, "one request id, one answer"

    lease = queue_pb.LeaseRequest(queue="life", max_jobs=10, wait_timeout=seconds(5), worker_id="python")
    (leased,) = client.Lease(lease).jobs
    assert leased.job.payload == b"\x00\xff" and leased.job.labels["event"] == "push"
    ack = queue_pb.Ack(job_id=job_id, lease_token=leased.lease_token, result=b"done")
    (result,) = client.Ack(queue_pb.AckRequest(acks=[ack])).results
    assert not result.HasField("error"), result

    job = client.GetJob(queue_pb.GetJobRequest(job_id=job_id)).job
    assert job.state == job_pb.JOB_STATE_COMPLETED and job.result == b"done", job
    assert job.worker_id == "python" and not job.HasField("payload")


def large_payloads_are_leased_without_loss(client):
    payloads = {bytes([n]) * MIB for n in range(10)}
    for payload in payloads:
        request = queue_pb.EnqueueRequest(queue="large", jobs=[job_pb.JobSpec(payload=payload)])
        client.Enqueue(request)
    seen = []
    while len(seen) < len(payloads):
        jobs = client.Lease(queue_pb.LeaseRequest(queue="large", max_jobs=1000)).jobs
        assert jobs, "every job is there to be leased"
        seen.extend(leased.job.payload for leased in jobs)
        assert all(leased.job.deliveries == 1 and leased.job.attempts == 0 for leased in jobs)
        acks = [queue_pb.Ack(job_id=j.job.job_id, lease_token=j.lease_token) for j in jobs]
        assert not any(r.HasField("error") for r in client.Ack(queue_pb.AckRequest(acks=acks)).results)
    assert len(seen) == len(payloads) and set(seen) == payloads


def error_says_which_fields_are_wrong(client):
    jobs = [job_pb.JobSpec(), job_pb.JobSpec(priority=10, key="a//b")]
    try:
        client.Enqueue(queue_pb.EnqueueRequest(queue="wrong", jobs=jobs))
        raise AssertionError("priority 10 was accepted")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        violations = details(error, error_details_pb2.BadRequest).field_violations
        assert {v.field for v in violations} == {"jobs[1].priority", "jobs[1].key"}, violations
        assert details(error, error_details_pb2.ErrorInfo).domain == "sluice.v1"
    try:
        client.GetJob(queue_pb.GetJobRequest(job_id="no-such-job"))
        raise AssertionError("an unknown job was found")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert details(error, error_details_pb2.ResourceInfo).resource_name == "no-such-job"


def streams_stream(client):
    requests = [
        queue_pb.EnqueueStreamRequest(
            sequence=n,
            request=queue_pb.EnqueueRequest(
                queue="stream",
                jobs=[job_pb.JobSpec(payload=str(n).encode(), priority=10 if n == 5 else 4)],
            ),
        )
        for n in range(10)
    ]
    answers = list(client.EnqueueStream(iter(requests)))
    assert [a.sequence for a in answers] == list(range(10))
    assert [a.WhichOneof("outcome") for a in answers].count("error") == 1
    assert answers[5].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]

    watch = client.WatchQueue(queue_pb.WatchQueueRequest(queue="stream"))
    assert next(watch).status.counts.ready == 9
    watch.cancel()

    drain = client.Drain(queue_pb.DrainRequest(queue="stream", request_id="python"))
    drained = [job.payload.decode() for page in drain for job in page.jobs]
    assert drained == [str(n) for n in range(10) if n != 5], drained


def operators_have_their_say(channel):
    admin = admin_grpc.AdminServiceStub(channel)
    assert admin.GetServerInfo(admin_pb.GetServerInfoRequest()).bounds.max_payload_bytes == MIB
    names = [queue.name for queue in admin.ListQueues(admin_pb.ListQueuesRequest()).queues]
    assert names == ["large", "life", "stream"], names


def connect(address, ca_file=None):
    if ca_file is None:
        return grpc.insecure_channel(address)
    tls = grpc.ssl_channel_credentials(pathlib.Path(ca_file).read_bytes())
    token = grpc.access_token_call_credentials(os.environ["SLUICE_TOKEN"])
    return grpc.secure_channel(address, grpc.composite_channel_credentials(tls, token))


def main():
    with connect(*sys.argv[1:3]) as channel:
        client = queue_grpc.QueueServiceStub(channel)
        for check in (
            job_goes_through_its_life,
            large_payloads_are_leased_without_loss,
            error_says_which_fields_are_wrong,
            streams_stream,
        ):
            check(client)
            print(check.__name__.replace("_", " "))
        operators_have_their_say(channel)
        print("operators have their say")
    print("all good")


main()
