"""Jobs are found by id or by a name that only one of them has, and tell when their last process has
gone.
"""

from __future__ import annotations

import pytest

from elsa.errors import UsageError
from elsa.state.jobs import Job, Jobs

ALICE, BOB = 1000, 1001


@pytest.fixture
def jobs() -> Jobs:
    jobs = Jobs(next_id=7)
    for name, owner in (("build", ALICE), ("build", BOB), ("test", BOB)):
        jobs.create(name, owner, 10)
    return jobs


def test_ids_go_on_from_the_next_free_one_and_are_never_used_again(jobs: Jobs) -> None:
    assert list(jobs.open) == [7, 8, 9]
    jobs.close(jobs.open[9], 20, "request")
    assert jobs.create("more", ALICE, 30).id == 10


@pytest.mark.parametrize(
    ("key", "owner", "id_"),
    [(7, None, 7), (8, BOB, 8), ("test", None, 9), ("build", ALICE, 7), ("build", BOB, 8)],
)
def test_a_job_is_found_by_id_or_unique_name_among_those_of_an_owner(
    jobs: Jobs, key: int | str, owner: int | None, id_: int
) -> None:
    assert jobs.find(key, owner).id == id_


@pytest.mark.parametrize(
    ("key", "owner"),
    [(6, None), (8, ALICE), ("test", ALICE), ("none", None), ("9", None), ("", None)],
)
def test_what_is_not_there_or_is_anothers_is_not_found(
    jobs: Jobs, key: int | str, owner: int | None
) -> None:
    with pytest.raises(UsageError, match="no open job"):
        jobs.find(key, owner)


def test_a_name_of_several_jobs_is_refused_with_their_ids(jobs: Jobs) -> None:
    with pytest.raises(UsageError, match=r"2 open jobs are named 'build'.*7, 8"):
        jobs.find("build")


def test_a_closed_job_is_not_found_and_says_when_and_how_it_closed(jobs: Jobs) -> None:
    job = jobs.find("test")
    jobs.close(job, 99, "request")
    assert (job.closed_at_ns, job.close_reason) == (99, "request")
    with pytest.raises(UsageError):
        jobs.find("test")


def test_a_restored_job_is_open_and_its_id_is_not_given_out_again() -> None:
    jobs = Jobs(next_id=1)
    jobs.restore(Job(41, "old", ALICE, 5, closes_itself=True))
    assert jobs.find("old").closes_itself
    assert jobs.create("new", ALICE, 6).id == 42


def test_a_job_is_emptied_when_its_last_process_goes_and_not_before(jobs: Jobs) -> None:
    jobs.count([7], 1)
    jobs.count([7, 9], 1)
    jobs.count([7], -1, 50)
    assert jobs.emptied == {}
    jobs.count([7], -1, 60)
    assert jobs.emptied == {7: 60}
    assert (jobs.open[7].living, jobs.open[9].living) == (0, 1)


def test_a_job_that_gets_a_process_again_is_not_emptied(jobs: Jobs) -> None:
    jobs.count([7], 1)
    jobs.count([7], -1, 60)
    jobs.count([7], 1)
    assert jobs.emptied == {}


def test_processes_that_leave_a_closed_job_count_for_nothing(jobs: Jobs) -> None:
    jobs.count([9], 1)
    jobs.close(jobs.open[9], 99, "request")
    jobs.count([9], -1, 100)
    assert jobs.emptied == {}


def test_the_tags_of_a_job_are_its_own() -> None:
    tags = {"ticket": "12"}
    job = Jobs().create("build", ALICE, 1, tags=tags)
    tags["ticket"] = "13"
    assert job.tags == {"ticket": "12"}


def test_a_kind_before_a_name_chooses_the_job_of_that_kind(jobs: Jobs) -> None:
    service = jobs.create("test", 0, 5, kind="service")
    assert jobs.find("service:test") is service
    assert jobs.find("manual:test") is jobs.find("test")
    with pytest.raises(UsageError, match="no open job 'cron:test'"):
        jobs.find("cron:test")
    named = jobs.create("cron:test", 0, 5)
    assert jobs.find("cron:test") is named
