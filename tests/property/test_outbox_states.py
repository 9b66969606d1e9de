"""Reports, images, notices, merges and kills in any order, with a DMP that goes wrong three times in ten (P6, P7, P8).

The model says what the DMP must hold of each exam once all is drained. At no instant does it hold two current documents
of one exam, or one about a patient whom the exam was never said to be of.

DRIMBOX_PUBLICATION_EXAMPLES, DRIMBOX_PUBLICATION_STEPS: more of both, for a long night; DRIMBOX_PUBLICATION_SHRINK: of
events that fail, the fewest.
"""

import asyncio
import contextlib
import itertools
import os
import random
import shutil
from dataclasses import replace

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from making import ct, rejection_note
from publication_model import EVENTS, KINDS, Person, Study, Told, document
from publication_neighbours import Neighbours, visibility, wrong_answer
from publication_stage import RIS, Stage, patient, report, settings_for

from drimbox.egress import Egress
from drimbox.kos.read import read_manifest
from drimbox.model import Credentials, PatientMerge, StudyNotice

EXAMPLES = int(os.environ.get("DRIMBOX_PUBLICATION_EXAMPLES", "12"))
STEPS = int(os.environ.get("DRIMBOX_PUBLICATION_STEPS", "10"))
SHRINK = "DRIMBOX_PUBLICATION_SHRINK" in os.environ
STUDIES, PERSONS = 8, 4
OPERATOR = Credentials("operator", "127.0.0.1")


class Publication(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed):
        self.base = NEIGHBOURS.folder / f"node{next(NEIGHBOURS.numbers)}"
        self.chance = random.Random(seed)
        self.settings = settings_for(NEIGHBOURS.certificates, NEIGHBOURS.port, timeout_s=0.5)
        self.persons = [Person(number, number) for number in itertools.islice(NEIGHBOURS.numbers, PERSONS)]
        uids = [f"1.2.3.{number}" for number in itertools.islice(NEIGHBOURS.numbers, STUDIES)]
        self.studies = {uid: Study(uid, self.persons[n % PERSONS]) for n, uid in enumerate(uids)}
        self.told = {}
        self.up = True
        self.kill = 0, None
        NEIGHBOURS.dmp.app.mood = self.mood
        self.open()

    def mood(self, transaction, content):
        left, kill = self.kill
        self.kill = left - 1, kill
        if left == 1:
            kill()
        return wrong_answer(transaction, self.chance)

    def open(self):
        self.egress = Egress([self.settings.dmp.repository_url])
        self.stage = Stage(self.base, self.settings, self.egress)
        NEIGHBOURS.run(self.stage.outbox.release_leases())

    def close(self):
        self.stage.close()
        NEIGHBOURS.run(self.egress.close())

    @rule(events=st.lists(EVENTS, min_size=1, max_size=10))
    def go_on(self, events):
        for event in events:
            getattr(self, event.name)(event)
            self.never_two_and_never_somebody_else()

    def meanwhile(self, arrival):
        """It arrives while the node works, or does not."""

        async def together():
            rounds = [self.chance.choice((0, 0, 1, 2)) for _ in range(2)]
            return (await asyncio.gather(arrival, *map(self.sender, rounds)))[0]

        return NEIGHBOURS.run(together())

    async def sender(self, rounds):
        for _ in range(rounds):
            await self.stage.publish.run_due()

    def study(self, event):
        """What is drawn must not depend on numbers that another example used up."""
        return list(self.studies.values())[event.which % len(self.studies)]

    # --- What arrives ------------------------------------------------------------------------------------------------

    def arrives(self, told, **changes):
        """A report is sent as `told` says, and the model follows."""
        about = patient(told.person.number, told.ins, qualified=told.qualified)
        changes |= {"document_id": document(told.document), "to_dmp": told.to_dmp, "confidentiality": told.flags}
        made = report(told.number, told.studies, about, **changes)
        assert self.meanwhile(self.stage.publish.report_arrived(made, RIS)) == "accepted"
        assert self.meanwhile(self.stage.publish.report_arrived(made, RIS)) == "replayed"
        self.told[told.number] = told

    def follow(self, told):
        """The model is told before the node: what it does at once must be expected."""
        for study in (self.studies[uid] for uid in told.studies):
            study.ever.add(told.ins)
            if told.status == "current":
                study.taken_back = False

    def report(self, event):
        study = self.study(event)
        person = study.person
        others = [one.uid for one in self.studies.values() if one.person is person and one is not study]
        studies = (study.uid, *others[: event.other % 2])
        number = next(NEIGHBOURS.numbers)
        told = Told(number, number, studies, person, person.ins, event.flags, to_dmp=event.other % 10 > 0)
        self.follow(told)
        self.arrives(told)

    def correction(self, event):
        """The report is replaced by another; one that was deleted, too."""
        if not self.told:
            return
        old, number = self.known(event), next(NEIGHBOURS.numbers)
        kind = KINDS[event.other % len(KINDS)]
        new = replace(old, number=number, document=number, status="current", to_dmp=kind != "not for the DMP")
        new.qualified = kind != "not qualified"
        changes = {"replaces": (document(old.document),)}
        if kind in ("flags", "visibility"):
            new.flags = event.flags
        if kind == "visibility":  # the same document, and who sees it
            new.document, changes = old.document, {"visibility_only": True}
        if kind == "ins":
            old.person.ins = new.ins = number
        self.follow(new)
        self.end_versions(old.document, "replaced")
        self.arrives(new, status="C", **changes)

    def known(self, event):
        return list(self.told.values())[event.which % len(self.told)]

    def end_versions(self, number, status):
        """Every version that goes by this document, and is in force, is so no more."""
        for told in self.told.values():
            if told.status == "current" and told.document == number:
                told.status = status

    def deletion(self, event):
        if self.told and (old := self.known(event)).status == "current":
            self.end_versions(old.document, "cancelled")
            self.arrives(replace(old, number=next(NEIGHBOURS.numbers), status="cancelled"), status="D")

    def images(self, event):
        study = self.study(event)
        for number in range(event.few):
            uid = f"{study.uid}.{1 + event.other % 2}.{1 + (event.other + number) % 5}"
            if uid not in study.rejected:
                study.shown.add(uid)
            self.meanwhile(self.stage.kept(self.made(study, uid)))

    def made(self, study, uid):
        series, number = map(int, uid.rsplit(".", 2)[1:])
        return ct(series, number, study.uid, PatientID=patient(study.person.number).local_id.value)

    def rejection_note(self, event):
        study = self.study(event)
        away = sorted(study.shown)[: event.few]
        if away:
            made = [self.made(study, uid) for uid in away]
            note = rejection_note("113001", *made, number=next(NEIGHBOURS.numbers), study=study.uid)
            study.shown -= set(away)
            study.rejected |= set(away)
            self.meanwhile(self.stage.kept(note))

    def study_notice(self, event):
        study = self.study(event)
        study.taken_back = event.other % 2 == 0
        number = f"RIS|CENTRE|{next(NEIGHBOURS.numbers)}"
        notice = StudyNotice(number, b"OMI", study.uid, study.taken_back, "ACC1")
        assert self.meanwhile(self.stage.publish.study_noticed(notice, RIS)) == "accepted"

    def merge(self, event):
        """One of two persons is gone for good; what was said of them is said of the other."""
        gone, kept = (self.persons[number % len(self.persons)] for number in (event.which, event.other))
        if gone is kept:
            return
        qualified = event.few > 1
        for told in self.told.values():
            if told.person is gone:
                self.merged(told, kept, qualified)
        for study in self.studies.values():
            if study.person is gone:
                study.person = kept
        self.persons.remove(gone)
        before = patient(gone.number, gone.ins)
        survivor = patient(kept.number, kept.ins, qualified=qualified)
        number = f"RIS|CENTRE|{next(NEIGHBOURS.numbers)}"
        merge = PatientMerge(number, b"ADT", survivor, (before.ins, before.local_id))
        assert self.meanwhile(self.stage.publish.patients_merged(merge, RIS)) == "accepted"

    def merged(self, told, kept, qualified):
        """A survivor who is not qualified lends their name to nobody: the report loses its qualification instead."""
        told.person = kept
        if qualified:
            told.ins, told.qualified = kept.ins, True
            for uid in told.studies:
                self.studies[uid].ever.add(kept.ins)
        else:
            told.qualified = False

    # --- What goes on ------------------------------------------------------------------------------------------------

    def work(self, event):
        async def together():
            await asyncio.gather(*(self.sender(event.few) for _ in range(3)))

        NEIGHBOURS.run(together())

    def killed(self, event):
        """The node is gone when so many messages reached the DMP, and comes back."""

        async def cut_short():
            work = asyncio.gather(*(self.sender(4) for _ in range(3)))
            self.kill = event.few, work.cancel
            with contextlib.suppress(asyncio.CancelledError):
                await work
            self.kill = 0, None

        NEIGHBOURS.run(cut_short())
        self.close()
        self.open()

    def outage(self, event):
        """The DMP goes down, or comes back."""
        if self.up:
            self.up = False
            NEIGHBOURS.stop()
        else:
            self.dmp_comes_back()

    def dmp_comes_back(self):
        NEIGHBOURS.start()
        NEIGHBOURS.dmp.app.mood = self.mood
        self.up = True

    def parked_by_hand(self, event):
        if owed := self.owed("due", "leased", "frozen"):
            NEIGHBOURS.run(self.stage.desk.park(OPERATOR, owed[event.which % len(owed)]["id"], "by hand"))

    def discarded_by_hand(self, event):
        """And the report is sent once more, or the DMP would stay as it is."""
        owed = [job for job in self.owed("due", "leased", "frozen", "parked") if self.in_force(job["study_uid"])]
        if owed:
            job = owed[event.which % len(owed)]
            NEIGHBOURS.run(self.stage.desk.discard(OPERATOR, job["id"], "by hand"))
            self.repeat(self.in_force(job["study_uid"]))

    def repeat(self, told, **changes):
        self.end_versions(told.document, "replaced")
        new = replace(told, number=next(NEIGHBOURS.numbers), status="current", **changes)
        self.follow(new)
        self.arrives(new, status="C")

    def owed(self, *states):
        return [job for job in self.jobs() if job["state"] in states]

    def jobs(self):
        return NEIGHBOURS.run(self.stage.outbox.list(10_000))

    # --- What must be so ---------------------------------------------------------------------------------------------

    def never_two_and_never_somebody_else(self):
        if self.up:
            for uid, documents in self.current().items():
                assert len(documents) <= 1, [job for job in self.jobs() if job["study_uid"] == uid]
                assert {about for about, *_ in documents} <= {
                    patient(1, ins).ins.value for ins in self.studies[uid].ever
                }

    def current(self):
        """Study -> (INS, instances, confidentiality) of each document the DMP shows."""
        found = {}
        for held in NEIGHBOURS.dmp.app.documents():
            if held.is_approved:
                manifest = read_manifest(held.content)
                about = held.patient_id.partition("^")[0]
                assert manifest.patient.ins.value == about
                uids = frozenset(instance.sop_uid for series in manifest.series for instance in series.instances)
                found.setdefault(manifest.study_uid, []).append((about, uids, visibility(held.metadata)))
        return {uid: documents for uid, documents in found.items() if uid in self.studies}

    def teardown(self):
        try:
            if not self.up:
                self.dmp_comes_back()
            self.drain()
            self.compare()
            self.mend()
            self.drain()
            self.compare()
        finally:
            self.close()
            NEIGHBOURS.dmp.app.forget()
            shutil.rmtree(self.base)

    def drain(self):
        """Until nothing is left but what waits for images, and what a human must decide."""
        for _ in range(200):
            NEIGHBOURS.run(asyncio.wait_for(self.settle(), 60))
            jobs = [job for job in self.jobs() if job["state"] in ("due", "leased", "frozen", "parked")]
            left = [job for job in jobs if not self.rests(job)]
            if not left:
                return
            for job in left:
                if job["state"] == "parked":
                    NEIGHBOURS.run(self.stage.desk.retry(OPERATOR, job["id"]))
        raise AssertionError(f"not drained: {[(job['state'], job['last_error']) for job in left]}")

    async def settle(self):
        async def sender():
            for _ in range(20):
                if not await self.stage.publish.run_due():
                    await asyncio.sleep(0.001)

        await asyncio.gather(*(sender() for _ in range(4)))

    def rests(self, job):
        if job["state"] == "parked":
            return "not qualified" in job["last_error"]
        return job["attempts"] > 0 and "not held here" in job["last_error"]

    def in_force(self, uid):
        known = [told for told in self.told.values() if uid in told.studies and told.status == "current"]
        return max(known, key=lambda told: told.number, default=None)

    def is_parked(self, uid):
        told, study = self.in_force(uid), self.studies[uid]
        if told is None or not told.to_dmp or study.taken_back or not (study.shown or not study.rejected):
            return False
        return not told.qualified

    def compare(self):
        current = self.current()
        for uid, study in self.studies.items():
            told = self.in_force(uid)
            if self.is_parked(uid):
                continue  # what is there stays: a human must look
            wanted = []
            if told and told.to_dmp and study.shown and not study.taken_back:
                wanted = [(patient(1, told.ins).ins.value, frozenset(study.shown), frozenset({"N", *told.flags}))]
            assert current.get(uid, []) == wanted, [job for job in self.jobs() if job["study_uid"] == uid]

    def mend(self):
        """Who was not qualified is so now: nothing stays undecided."""
        for uid in self.studies:
            told = self.in_force(uid)
            if told and not told.qualified:
                self.repeat(told, qualified=True)


def test_the_dmp_ends_as_the_model_says():
    global NEIGHBOURS
    NEIGHBOURS = Neighbours()
    try:
        run_state_machine_as_test(
            Publication,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                report_multiple_bugs=False,
                phases=[Phase.reuse, Phase.generate, *([Phase.shrink] if SHRINK else [])],  # it takes minutes
            ),
        )
    finally:
        NEIGHBOURS.close()
