"""Store and forward: bridge and archive die at any moment, and nothing that was acknowledged is lost."""

from tests.e2e.spool_killing import rounds

ROUNDS = 8


def test_sigkill_of_bridge_and_archive_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path):
    # when: either or both are killed again and again while modalities store
    result = rounds(ROUNDS, tmp_path)

    # then: what was acknowledged is in the archive, each instance once, byte for byte
    assert len(result.acknowledged) > 20
    assert result.lost == []
    assert result.twice == []
    assert result.differing == []
    assert result.quarantined == 0
    # and: nobody was refused, as the spool had room all the time
    assert set(result.statuses) == {0}
